//! Hosts and what runs in them. A task is one request, one scan or one sweep: a future of the engine that is polled
//! when chance says so, and dropped when its host dies or its client hangs up.

use std::pin::Pin;
use std::sync::Arc;

use lucius_domain::id::JobId;
use lucius_domain::job::Job;
use lucius_domain::retry::Timing;
use lucius_engine::accept::Accepted;
use lucius_engine::settings::Limits;
use lucius_engine::{Engine, Ports, Refusal, Settings};
use tokio::runtime::Runtime;

use crate::dice::Dice;
use crate::ledger::SimLedger;
use crate::plugins::{SimRuntime, SimSource};
use crate::ports::{SimBus, SimClock, SimIds};
use crate::worker::Callback;
use crate::world::World;

/// What a task is about.
pub(crate) enum About {
    Open,
    Submit(usize),
    Call(Callback),
    Cancel(JobId),
    Redrive(JobId),
    Tick,
}

/// What a task came to.
pub(crate) enum Answer {
    Opened(Result<Arc<Engine>, String>),
    Accepted(Result<Accepted, Refusal>),
    Applied(Result<bool, Refusal>),
    Verb(Result<Arc<Job>, Refusal>),
    Ticked,
}

pub(crate) struct Task {
    pub(crate) id: u64,
    pub(crate) host: usize,
    pub(crate) about: About,
    pub(crate) future: Pin<Box<dyn Future<Output = Answer>>>,
}

/// A host, up or down. Dropping the engine and all its futures is what a crash is.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) engine: Option<Arc<Engine>>,
    /// Where the dispatcher runs that hints wake up; some hosts do without, as if all hints were lost.
    pub(crate) hints: Option<Runtime>,
    pub(crate) opening: bool,
    /// Stopped, as by a debugger or a laptop's lid; nothing of it runs before this moment.
    pub(crate) paused_until: i64,
}

impl Host {
    /// Lets the dispatcher behind the hints take a turn.
    pub(crate) fn hint_turn(&self) {
        if let Some(runtime) = &self.hints {
            runtime.block_on(tokio::task::yield_now());
        }
    }

    /// Starts the engine's own loops, of which only the hints do anything here.
    pub(crate) fn start_hints(&mut self, engine: &Arc<Engine>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .event_interval(1)
            .build();
        // Without a driver there is nothing that could fail to start; without a runtime hints are lost, which is legal.
        if let Ok(runtime) = runtime {
            runtime.spawn(Arc::clone(engine).run());
            self.hints = Some(runtime);
        }
    }
}

pub(crate) fn ports(world: &Arc<World>, source: &Arc<SimSource>, host: usize) -> Ports {
    let world = Arc::clone(world);
    Ports {
        ledger: Arc::new(SimLedger(Arc::clone(&world))),
        pins: Arc::new(SimLedger(Arc::clone(&world))),
        generations: Arc::new(SimLedger(Arc::clone(&world))),
        records: Arc::new(SimLedger(Arc::clone(&world))),
        upkeep: Arc::new(SimLedger(Arc::clone(&world))),
        dead_queues: Arc::new(SimBus(Arc::clone(&world))),
        bus: Arc::new(SimBus(Arc::clone(&world))),
        runtime: Arc::new(SimRuntime::new(Arc::clone(&world))),
        source: Arc::clone(source) as Arc<_>,
        ids: Arc::new(SimIds(Arc::clone(&world))),
        clock: Arc::new(SimClock { world, host }),
    }
}

/// The waits of a run; the longest of each kind is a few seconds, so that faults and waits meet.
pub(crate) fn timing(dice: &mut Dice) -> Timing {
    let mut ms = |from, to| u64::try_from(dice.between(from, to)).unwrap_or(1);
    let (ack_ms, lease_ms) = (ms(500, 4_000), ms(1_000, 8_000));
    Timing {
        ack_ms,
        lease_ms,
        deadline_ms: 2 * lease_ms,
        max_attempts: u32::try_from(ms(1, 4)).unwrap_or(1),
        retry_backoff_ms: vec![ms(0, 1_000), ms(500, 2_000), ms(1_000, 4_000)],
        dispatch_backoff_ms: vec![ms(0, 1_000), ms(500, 2_000), ms(1_000, 4_000)],
    }
}

pub(crate) fn settings(dice: &mut Dice) -> Settings {
    let limits = if dice.permille(150) {
        Limits {
            tenant_inflight: 2,
            outbox_backlog: 2,
            ..Limits::default()
        }
    } else {
        Limits::default()
    };
    Settings {
        timing: timing(dice),
        limits,
        publish_concurrency: 4,
        // SENT is committed at once: the simulator draws how long a task pauses.
        ..Settings::alone("127.0.0.1:7420", [7; 32])
    }
}
