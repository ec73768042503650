//! Lives that are told in advance, and a host that dies once, at every place there is.
//!
//! Chance finds what nobody thought of; it does not promise to have been everywhere. A story has no chance in what
//! happens: one job, one host, services and plugins that say what the story wants. Its host stops at every await of
//! the engine: before and after each call to a port, so before and after each commit. A life without a death counts
//! these stops; then the host dies at the first, the second, and so on to the last ([`tell`]), is started again, and
//! the job has to come to the same end, with no attempt wasted, and all invariants have to hold after every write.
//!
//! [`tell`]: crate::tell

use lucius_domain::contract::Directive;
use lucius_domain::id::AttemptNo;
use lucius_domain::job::{Job, Phase, Status};
use lucius_domain::retry::Timing;
use lucius_ports::plugin::Call;

use crate::host::About;
use crate::plugins;
use crate::run::Run;
use crate::worker;
use crate::world::Happening;

/// What happens to the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// Two steps that no plugin decides about.
    Plain,
    /// Three steps, each with a plugin.
    Plugins,
    /// The first attempt fails and may be tried again.
    Retry,
    /// Nobody acknowledges the first attempt.
    Silence,
    /// The service of the first attempt acknowledges it and is never heard again.
    Abandoned,
    /// Every attempt fails.
    Exhausted,
    /// The plugin of the first step says that it is not needed.
    Skip,
    /// No plugin ever says what a RESULT means.
    Unreadable,
    /// A client cancels as soon as the job is there.
    CancelledAtOnce,
    /// A client cancels while the directive is out.
    Cancelled,
    /// The first attempt fails for good, and an operator starts the job again.
    Redriven,
}

impl Story {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Plain,
        Self::Plugins,
        Self::Retry,
        Self::Silence,
        Self::Abandoned,
        Self::Exhausted,
        Self::Skip,
        Self::Unreadable,
        Self::CancelledAtOnce,
        Self::Cancelled,
        Self::Redriven,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Plugins => "plugins",
            Self::Retry => "retry",
            Self::Silence => "silence",
            Self::Abandoned => "abandoned",
            Self::Exhausted => "exhausted",
            Self::Skip => "skip",
            Self::Unreadable => "unreadable",
            Self::CancelledAtOnce => "cancelled-at-once",
            Self::Cancelled => "cancelled",
            Self::Redriven => "redriven",
        }
    }

    /// How it ends: jobs that are done, failed, cancelled.
    pub fn ends(self) -> [u64; 3] {
        match self {
            Self::Plain
            | Self::Plugins
            | Self::Retry
            | Self::Silence
            | Self::Abandoned
            | Self::Skip
            | Self::Redriven => [1, 0, 0],
            Self::Exhausted | Self::Unreadable => [0, 1, 0],
            Self::CancelledAtOnce | Self::Cancelled => [0, 0, 1],
        }
    }

    fn request_type(self) -> &'static str {
        match self {
            Self::Plain
            | Self::Retry
            | Self::Silence
            | Self::Abandoned
            | Self::Exhausted
            | Self::CancelledAtOnce
            | Self::Cancelled
            | Self::Redriven => "PLAIN",
            Self::Plugins | Self::Skip | Self::Unreadable => "OCR->EMBEDDING->SIS",
        }
    }

    /// What a service does with a directive.
    pub(crate) fn plan(self, directive: &Directive) -> u64 {
        let first = directive.attempt_no == AttemptNo(1) && directive.inputs.is_empty();
        match self {
            Self::Retry if first => worker::TRY_AGAIN,
            Self::Silence if first => worker::SILENCE,
            Self::Abandoned if first => worker::ONLY_ACK,
            Self::Redriven if first => worker::GIVE_UP,
            Self::Exhausted => worker::TRY_AGAIN,
            Self::Plain
            | Self::Plugins
            | Self::Retry
            | Self::Silence
            | Self::Abandoned
            | Self::Skip
            | Self::Unreadable
            | Self::CancelledAtOnce
            | Self::Cancelled
            | Self::Redriven => worker::USUAL,
        }
    }

    /// What a plugin does with a question.
    pub(crate) fn chance(self, call: &Call) -> u64 {
        match (self, call) {
            (Self::Skip, Call::Route { context }) if context.earlier.is_empty() => plugins::SKIP,
            (Self::Unreadable, Call::Settle { .. }) => plugins::TRAP,
            (_, Call::Validate { .. } | Call::Route { .. } | Call::Settle { .. }) => plugins::USUAL,
        }
    }

    /// What someone wants of the job as it is now. It is asked again after each answer and each death, so it follows
    /// from the job alone.
    fn wish(self, job: &Job) -> Option<About> {
        let (_, _, step) = job.current()?;
        let out = matches!(
            step.phase,
            Phase::AwaitingAck { .. } | Phase::InProgress { .. }
        );
        let status = &job.progress.status;
        match self {
            Self::CancelledAtOnce if !status.is_terminal() && *status != Status::Cancelling => {
                Some(About::Cancel(job.id))
            }
            Self::Cancelled if out && *status != Status::Cancelling => Some(About::Cancel(job.id)),
            Self::Redriven if matches!(status, Status::FailedFinal { .. }) => {
                Some(About::Redrive(job.id))
            }
            Self::Plain
            | Self::Plugins
            | Self::Retry
            | Self::Silence
            | Self::Abandoned
            | Self::Exhausted
            | Self::Skip
            | Self::Unreadable
            | Self::CancelledAtOnce
            | Self::Cancelled
            | Self::Redriven => None,
        }
    }
}

/// Waits that a client or service that tries again after a death does not miss.
fn timing() -> Timing {
    Timing {
        ack_ms: 3_000,
        lease_ms: 5_000,
        deadline_ms: 20_000,
        max_attempts: 2,
        retry_backoff_ms: vec![500],
        dispatch_backoff_ms: vec![500, 500],
    }
}

impl Run {
    /// A run of one host whose every stop is known, and which dies at one of them.
    pub(crate) fn of(story: Story, seed: u64, death: Option<u64>) -> Self {
        let mut run = Self::new(seed, None);
        run.hosts.truncate(1);
        run.settings.timing = timing();
        run.settings.limits = lucius_engine::settings::Limits::default();
        run.death = death;
        {
            let state = &mut *run.world.state();
            state.story = Some(story);
            let order = run.clients.order(story.request_type());
            state.later(0, Happening::Submit(order));
        }
        run
    }

    /// What someone wants now, as the story goes.
    pub(crate) fn wish(&self) -> Option<About> {
        let state = self.world.state();
        let story = state.story?;
        state.check.jobs().find_map(|job| story.wish(job))
    }

    /// How many attempts all jobs had.
    pub(crate) fn attempts(&self) -> u32 {
        let state = self.world.state();
        state.check.jobs().map(Job::attempts_total).sum()
    }
}
