//! What the engine relies on when it uses a [`Ledger`], [`Pins`] and [`Generations`]: whole round trips, exactly one winner,
//! nothing written by a loser, due times that neither hide a job nor show one too early, and an event trail that
//! rebuilds every job (checked after each commit a case makes).
//!
//! A backend proves itself with [`ledger_conformance!`](crate::ledger_conformance), which turns each case into a
//! test on a ledger of its own, with [`reopen`] when its ledger is durable, and with [`differential`] against the
//! memory ledger.
//!
//! [`Ledger`]: crate::ledger::Ledger
//! [`Generations`]: crate::ledger::Generations
//! [`Pins`]: crate::pins::Pins

pub mod create;
pub mod differential;
pub mod draft;
pub mod due;
pub mod generations;
pub mod history;
pub mod list;
pub mod moves;
pub mod pins;
pub mod play;
pub mod reopen;

/// Makes a test of every case. The argument is an expression that gives a new, empty ledger as an `Arc`; it may use
/// `.await` and is evaluated once for each test.
#[macro_export]
macro_rules! ledger_conformance {
    ($fresh:expr) => {
        $crate::ledger_conformance! { @cases $fresh;
            create: [
                a_created_job_loads_back_whole,
                a_duplicate_answers_with_the_first_job,
                a_hundred_at_once_create_one_job,
                a_reused_key_names_the_job_that_has_it,
                keys_belong_to_their_tenant,
                finding_a_key_writes_nothing,
                an_unknown_job_is_not_there,
            ]
            history: [
                a_commit_on_another_version_changes_nothing,
                one_of_many_commits_on_a_version_wins,
                fifty_writers_on_one_job_make_one_order,
                a_commit_to_an_unknown_job_is_a_conflict,
                many_jobs_commit_side_by_side,
                events_have_no_gaps_and_page_by_number,
                a_long_life_is_rebuilt_from_its_events,
            ]
            due: [
                a_job_is_due_by_kind_lane_and_time,
                the_longest_due_come_first_and_the_limit_holds,
                the_outbox_shows_what_may_be_published,
                a_failed_publish_waits_for_its_time,
                a_terminal_job_is_never_due,
            ]
            list: [
                lists_are_newest_first_and_filtered,
                lists_are_filtered_by_protocol_error_and_time,
                a_cursor_holds_while_jobs_arrive,
                counts_follow_the_jobs,
            ]
            generations: [
                generations_are_appended_in_order,
                one_of_many_appends_wins,
            ]
            pins: [
                jobs_hold_their_generation_until_they_are_over,
                the_newest_jobs_of_a_plugin_are_found,
            ]
        }
    };
    (@cases $fresh:expr; $($module:ident: [$($case:ident,)*])*) => {$(
        mod $module {
            #[allow(unused_imports, reason = "the expression may need none of them")]
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    $crate::conformance::ledger::$module::$case($fresh).await;
                }
            )*
        }
    )*};
}
