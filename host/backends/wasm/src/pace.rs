//! Which calls run at once, on the thread that asks.
//!
//! Changing threads twice takes longer than most calls do. A plugin whose last call was quick is therefore asked on
//! the spot, with little fuel and a deadline of a tick or two. A plugin is a pure function, so nothing is lost when
//! that is not enough: the call is begun anew on a thread for plugins, with all that it may have, and so are the
//! plugin's next calls until one of them is quick again. A plugin that is slow on purpose takes a thread that serves
//! requests for two milliseconds at most, and from then on its own share of the threads for plugins.
//!
//! What such a call answers, what it costs and how it faults is the same in either place; only its log lines may be
//! there twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lucius_ports::plugin::{Fault, Limits};

/// A call that took no longer was quick.
const QUICK: Duration = Duration::from_micros(500);
/// What a call may use that runs at once. This much fuel takes well under a millisecond.
const AT_ONCE_FUEL: u64 = 1_000_000;
const AT_ONCE_MS: u64 = 1;

/// How long a plugin's calls take.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    quick: AtomicBool,
}

impl Pace {
    /// Whether the next call may run at once. Nothing is known of a plugin that was never called.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick.load(Ordering::Relaxed)
    }

    /// A call took this long.
    pub(crate) fn took(&self, time: Duration) {
        self.quick.store(time <= QUICK, Ordering::Relaxed);
    }

    /// A call did not end within what it may use at once.
    pub(crate) fn took_too_long(&self) {
        self.quick.store(false, Ordering::Relaxed);
    }
}

/// What a call may use at once.
pub(crate) fn at_once(limits: &Limits) -> Limits {
    Limits {
        fuel: limits.fuel.min(AT_ONCE_FUEL),
        deadline_ms: limits.deadline_ms.min(AT_ONCE_MS),
        ..*limits
    }
}

/// Whether a fault says no more than that the call is none to run at once.
pub(crate) fn is_too_long(fault: &Fault, limits: &Limits) -> bool {
    match fault {
        Fault::Fuel { limit } => *limit < limits.fuel,
        Fault::Deadline { limit_ms } => *limit_ms < limits.deadline_ms,
        Fault::Trap(_) | Fault::Answer(_) | Fault::NotLoaded | Fault::Busy(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guests::{self, Guest};
    use crate::{Sandbox, Settings};
    use lucius_domain::id::Digest;
    use lucius_ports::plugin::{Answered, Call, Runtime as _};
    use serde_json::json;

    /// Takes far more fuel than a call may use at once when the payload is long.
    const SLOW_WHEN_LONG: &str = "
      (if (i32.gt_u (local.get 1) (i32.const 64)) (then
        (local.set $i (i32.const 1000000))
        (loop $again
          (local.set $i (i32.sub (local.get $i) (i32.const 1)))
          (br_if $again (local.get $i)))))
      (call $pair (i32.const 1028) (local.get 0) (local.get 1))
      (i32.const 1024)";

    fn call(characters: usize) -> Call {
        Call::Validate {
            payload: json!({ "text": "x".repeat(characters) }),
            config: json!({}),
        }
    }

    async fn admitted(validate: &str) -> (Sandbox, Digest) {
        let guest = Guest {
            validate: validate.to_owned(),
            ..Guest::default()
        };
        let component = guest.component();
        let digest = Digest::of(&component);
        let sandbox = Sandbox::start(Settings::default()).expect("it starts");
        let admitted = sandbox.admit(component, Limits::default()).await;
        admitted.expect("it is admitted");
        (sandbox, digest)
    }

    #[tokio::test]
    async fn a_call_that_takes_long_is_begun_anew_with_all_that_it_may_have() {
        let (sandbox, digest) = admitted(SLOW_WHEN_LONG).await;
        let plugin = sandbox.plugin(&digest).expect("it is loaded");
        plugin.pace.took(Duration::ZERO);
        let limits = Limits::default();
        let at_once = sandbox.run_at_once(&plugin, &limits, &call(100));
        assert_eq!(at_once, None, "it does not end on the caller's thread");
        assert!(!plugin.pace.is_quick(), "and the next is not begun there");
        plugin.pace.took(Duration::ZERO);
        let answered = sandbox.call(&digest, limits, call(100)).await;
        let Answered { fuel, .. } = answered.expect("it answers");
        assert!(fuel > AT_ONCE_FUEL, "{fuel}");
    }

    #[tokio::test]
    async fn a_quick_call_is_answered_on_the_spot_with_what_it_costs_elsewhere() {
        let (sandbox, digest) = admitted(SLOW_WHEN_LONG).await;
        let plugin = sandbox.plugin(&digest).expect("it is loaded");
        let limits = Limits::default();
        let unknown = sandbox.run_at_once(&plugin, &limits, &call(1));
        assert_eq!(unknown, None, "nothing is known of its pace");
        let queued = sandbox.call(&digest, limits, call(1)).await;
        // On a machine that is busy with other things, the tick may come before the answer.
        let mut tries = (0..1_000).map(|_| {
            plugin.pace.took(QUICK);
            sandbox.run_at_once(&plugin, &limits, &call(1))
        });
        assert_eq!(tries.find_map(|said| said), Some(queued));
    }

    #[tokio::test]
    async fn w1_a_quick_plugin_that_turns_endless_faults_by_its_own_limits() {
        let (sandbox, digest) = admitted("(loop $again (br $again)) (unreachable)").await;
        let plugin = sandbox.plugin(&digest).expect("it is loaded");
        // Little enough that on a busy machine the fuel is gone before the deadline is there.
        for limits in [
            Limits {
                fuel: 10 * AT_ONCE_FUEL,
                ..Limits::default()
            },
            Limits {
                fuel: 1_000,
                ..Limits::default()
            },
        ] {
            plugin.pace.took(Duration::ZERO);
            let ended = sandbox.call(&digest, limits, guests::validate()).await;
            assert_eq!(ended, Err(Fault::Fuel { limit: limits.fuel }));
        }
        let deadline = Limits {
            deadline_ms: 5,
            fuel: u64::MAX,
            ..Limits::default()
        };
        plugin.pace.took(Duration::ZERO);
        let ended = sandbox.call(&digest, deadline, guests::validate()).await;
        assert_eq!(ended, Err(Fault::Deadline { limit_ms: 5 }));
    }
}
