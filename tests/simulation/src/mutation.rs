//! Deliberate defects, to show that the simulator would find one.
//!
//! Each is made where the engine meets the outside, so the engine under test is the one that ships. Where a defect of
//! the engine would show as a wrong commit, the ledger makes that commit wrong on its way in.

macro_rules! mutations {
    ($($(#[$doc:meta])* $variant:ident = $name:literal caught by $($invariant:literal)|+;)*) => {
        /// A deliberate defect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation {
            $($(#[$doc])* $variant,)*
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The invariants of which at least one has to give it away.
            pub fn caught_by(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($invariant),+],)* }
            }
        }
    };
}

mutations! {
    /// A commit is taken whatever version it was decided on.
    IgnoreVersion = "ignore-version" caught by "I14";
    /// The bus says that it has a message, and has not.
    PublishNothing = "publish-nothing" caught by "I8";
    /// An attempt is marked SENT before it was published.
    SentBeforePublish = "sent-before-publish" caught by "I8";
    /// Leases are never found when they are due.
    ForgetLeases = "forget-leases" caught by "I3";
    /// Missing ACKs are never found when they are due.
    ForgetAcks = "forget-acks" caught by "I3";
    /// The outbox is never found when it is due.
    ForgetOutbox = "forget-outbox" caught by "I3";
    /// Every lease has the same id.
    RepeatLease = "repeat-lease" caught by "I10";
    /// A new attempt has no outbox row.
    DropOutboxRow = "drop-outbox-row" caught by "I6";
    /// A publish that failed does not move its row to a later time.
    KeepPublishTime = "keep-publish-time" caught by "I6";
    /// The last event of a commit with several is lost.
    LoseEvent = "lose-event" caught by "I19";
    /// The job is stored with another state than its events say.
    StoreOtherState = "store-other-state" caught by "I19";
    /// A new job is confirmed and not written.
    LoseCreate = "lose-create" caught by "I4";
    /// A commit is confirmed and not written.
    LoseCommit = "lose-commit" caught by "I8" | "I12" | "I10" | "I3" | "CANCEL";
    /// An idempotency key is not looked at.
    ForgetKeys = "forget-keys" caught by "I5";
    /// A commit is written twice.
    CommitTwice = "commit-twice" caught by "I14";
    /// A terminal job is made to run again.
    Resurrect = "resurrect" caught by "I1" | "I11";
    /// A retry is scheduled for a job that is being cancelled.
    RetryAfterCancel = "retry-after-cancel" caught by "I9";
    /// A RESULT with the right attempt number counts whatever lease it names.
    ForgetFence = "forget-fence" caught by "I11" | "I19";
    /// A heartbeat moves the end of a lease beyond the attempt's deadline.
    BeatForEver = "beat-for-ever" caught by "I3";
    /// A fourth attempt is made where three are allowed.
    BudgetNeverEnds = "budget-never-ends" caught by "I13";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutation_has_a_name_of_its_own() {
        let mut names: Vec<_> = Mutation::ALL.iter().map(|it| it.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Mutation::ALL.len());
    }
}
