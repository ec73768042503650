//! One run: a phase with faults, then one without, in which every accepted job has to end.

use std::sync::Arc;

use lucius_domain::id::JobId;
use lucius_domain::routing::Lane;
use lucius_engine::sweep::{self, Sweeper};
use lucius_engine::{Engine, Settings};

use crate::client::Clients;
use crate::host::{self, About, Answer, Host, Task};
use crate::mutation::Mutation;
use crate::plugins::SimSource;
use crate::worker;
use crate::world::{Happening, World};

/// How far a host's clock may be off, in milliseconds.
pub(crate) const MAX_SKEW_MS: i64 = 3_000;

pub(crate) struct Run {
    pub(crate) world: Arc<World>,
    pub(crate) settings: Settings,
    pub(crate) hosts: Vec<Host>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) clients: Clients,
    pub(crate) polls: u64,
    /// How often a host stopped at an await so far.
    pub(crate) stops: u64,
    /// The stop at which it dies.
    pub(crate) death: Option<u64>,
    source: Arc<SimSource>,
    steps: u64,
    most_jobs: usize,
    pub(crate) serial: u64,
}

impl Run {
    pub(crate) fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let world = World::new(seed, 3, mutation);
        let (settings, hosts, steps, most_jobs) = {
            let state = &mut *world.state();
            let hosts = 1 + state.dice.index(3);
            for host in 0..hosts {
                let skew = state.dice.between(-MAX_SKEW_MS, MAX_SKEW_MS);
                state.skews[host] = skew / (1 + state.dice.between(0, 3));
            }
            let settings = host::settings(&mut state.dice);
            let steps = 200 + state.dice.below(700);
            (settings, hosts, steps, 1 + state.dice.index(6))
        };
        let hosts = (0..hosts).map(|_| Host::default()).collect();
        Self {
            world: Arc::new(world),
            settings,
            hosts,
            tasks: Vec::new(),
            clients: Clients::default(),
            polls: 0,
            stops: 0,
            death: None,
            source: Arc::default(),
            steps,
            most_jobs,
            serial: 0,
        }
    }

    /// The phase with faults. Stops at the first invariant that does not hold.
    pub(crate) fn storm(&mut self) {
        (0..self.hosts.len()).for_each(|host| self.open(host));
        for _ in 0..self.steps {
            self.happen();
            self.step();
            if self.is_broken() {
                return;
            }
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.world.state().violation.is_some()
    }

    fn chance(&self, end: u64) -> u64 {
        self.world.state().dice.below(end)
    }

    fn some_job(&self) -> Option<JobId> {
        let state = &mut *self.world.state();
        let ids = state.check.ids();
        (!ids.is_empty()).then(|| *state.dice.pick(&ids))
    }

    /// A host that answers, at random.
    fn some_host(&self) -> Option<usize> {
        let up: Vec<usize> = (0..self.hosts.len())
            .filter(|host| self.hosts[*host].engine.is_some())
            .collect();
        (!up.is_empty()).then(|| *self.world.state().dice.pick(&up))
    }

    fn step(&mut self) {
        match self.chance(1_000) {
            0..500 => self.poll_some(),
            500..550 => self.hint_turn(),
            550..600 => self.submit_some(),
            600..740 => self.tick_some(),
            740..870 => self.pass_time(),
            870..874 => self.ask_of_some(About::Cancel),
            874..900 => self.ask_of_some(About::Redrive),
            900..908 => self.crash_some(),
            908..950 => self.open_some(),
            950..965 => self.hang_up(),
            965..975 => self.pause_some(),
            975..985 => {
                let state = &mut *self.world.state();
                state.bus_down = !state.bus_down && state.dice.permille(500);
                let now = if state.bus_down { "down" } else { "up" };
                state.note(None, format!("the bus is {now}"));
            }
            985..992 => {
                let state = &mut *self.world.state();
                state.ledger_down = !state.ledger_down && state.dice.permille(500);
                let now = if state.ledger_down { "down" } else { "up" };
                state.note(None, format!("the ledger is {now}"));
            }
            _ => {
                let state = &mut *self.world.state();
                let host = state.dice.index(self.hosts.len());
                state.skews[host] = state.dice.between(-MAX_SKEW_MS, MAX_SKEW_MS);
                state.note(None, format!("the clock of host {host} jumps"));
            }
        }
    }

    /// All that is due by now.
    pub(crate) fn happen(&mut self) {
        loop {
            let happening = {
                let state = &mut *self.world.state();
                match state.queue.first_entry() {
                    Some(first) if first.key().0 <= state.now => first.remove(),
                    Some(_) | None => return,
                }
            };
            match happening {
                Happening::Deliver(directive) => {
                    worker::receive(&mut self.world.state(), &directive);
                }
                Happening::Call(callback) => self.begin_or(About::Call(callback)),
                Happening::Submit(order) => self.begin_or(About::Submit(order)),
                Happening::Late(late) => self.world.arrive(*late),
            }
        }
    }

    /// Begins a request at some host; when none is up, its sender does not know more than before.
    pub(crate) fn begin_or(&mut self, about: About) {
        match self.some_host() {
            Some(host) => self.begin(host, about),
            None => self.unknown(about),
        }
    }

    fn ask_of_some(&mut self, about: impl Fn(JobId) -> About) {
        if let (Some(host), Some(job)) = (self.some_host(), self.some_job()) {
            self.begin(host, about(job));
        }
    }

    fn submit_some(&mut self) {
        let order = {
            let state = &mut *self.world.state();
            let orders = self.clients.orders.len();
            match state.dice.below(10) {
                0..2 if orders > 0 => Some(state.dice.index(orders)),
                2 => self.clients.reuse(&mut state.dice),
                _ if orders < self.most_jobs => Some(self.clients.invent(&mut state.dice)),
                _ => None,
            }
        };
        if let Some(order) = order {
            self.begin_or(About::Submit(order));
        }
    }

    fn tick_some(&mut self) {
        let Some(host) = self.some_host() else { return };
        let lane = {
            let state = &mut *self.world.state();
            let lanes: Vec<Lane> = state.check.jobs().map(|job| job.spec.lane).collect();
            if lanes.is_empty() {
                return;
            }
            *state.dice.pick(&lanes)
        };
        let which = self.chance(5);
        self.tick(host, lane, which);
    }

    /// One scan or sweep of one lane.
    pub(crate) fn tick(&mut self, host: usize, lane: Lane, which: u64) {
        let Some(engine) = self.hosts[host].engine.clone() else {
            return;
        };
        let sweeper: Option<Sweeper> = match which {
            0 => Some(sweep::ACK),
            1 => Some(sweep::LEASE),
            2 => Some(sweep::DRIFT),
            _ => None,
        };
        self.spawn(host, About::Tick, async move {
            // The next tick does what this one could not.
            match sweeper {
                Some(sweeper) => drop(engine.sweep_tick(sweeper, lane).await),
                None => drop(engine.dispatch_tick(lane).await),
            }
            Answer::Ticked
        });
    }

    fn pass_time(&mut self) {
        let state = &mut *self.world.state();
        let next = state.queue.keys().next().map(|(at, _)| *at);
        let due = state.check.jobs().filter_map(|job| Some(job.due()?.1.0));
        let next = next
            .into_iter()
            .chain(due)
            .filter(|at| *at > state.now)
            .min();
        state.now = match (state.dice.below(4), next) {
            (0 | 1, Some(next)) => next,
            (2, _) => state.now + state.dice.between(1, 50),
            _ => state.now + state.dice.between(1, 2_000),
        };
    }

    fn crash_some(&mut self) {
        let Some(host) = self.some_host() else { return };
        self.crash(host);
    }

    /// A host has stopped at an await, where it may die; true when it does.
    pub(crate) fn stopped(&mut self, host: usize) -> bool {
        self.stops += 1;
        let dies = self.death == Some(self.stops);
        if dies {
            self.crash(host);
        }
        dies
    }

    fn crash(&mut self, host: usize) {
        self.world.note(None, format!("host {host} dies"));
        self.hosts[host] = Host::default();
        let (dead, alive) = std::mem::take(&mut self.tasks)
            .into_iter()
            .partition::<Vec<Task>, _>(|task| task.host == host);
        self.tasks = alive;
        for task in dead {
            self.unknown(task.about);
        }
        for job in self.clients.promised() {
            self.is_there(job);
        }
    }

    fn hang_up(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let index = self.world.state().dice.index(self.tasks.len());
        if matches!(self.tasks[index].about, About::Open) {
            return;
        }
        let task = self.tasks.remove(index);
        self.world
            .note(None, format!("task {} is dropped", task.id));
        self.unknown(task.about);
    }

    fn pause_some(&mut self) {
        let Some(host) = self.some_host() else { return };
        let state = &mut *self.world.state();
        let ms = state.dice.between(1_000, 20_000);
        self.hosts[host].paused_until = state.now + ms;
        state.note(None, format!("host {host} is stopped for {ms} ms"));
    }

    fn open_some(&mut self) {
        let down: Vec<usize> = (0..self.hosts.len())
            .filter(|host| self.hosts[*host].engine.is_none() && !self.hosts[*host].opening)
            .collect();
        if !down.is_empty() {
            let host = *self.world.state().dice.pick(&down);
            self.open(host);
        }
    }

    pub(crate) fn open(&mut self, host: usize) {
        self.hosts[host].opening = true;
        let ports = host::ports(&self.world, &self.source, host);
        let settings = self.settings.clone();
        self.spawn(host, About::Open, async move {
            let opened = Engine::open(ports, settings).await;
            Answer::Opened(opened.map_err(|error| error.to_string()))
        });
    }

    fn poll_some(&mut self) {
        let now = self.world.state().now;
        let awake: Vec<usize> = (0..self.tasks.len())
            .filter(|task| self.hosts[self.tasks[*task].host].paused_until <= now)
            .collect();
        if awake.is_empty() {
            return;
        }
        let (index, times) = {
            let state = &mut *self.world.state();
            let index = *state.dice.pick(&awake);
            // Mostly a little, so that tasks interleave; at times far enough to end.
            let times = if state.dice.permille(300) {
                60
            } else {
                1 + state.dice.below(8)
            };
            (index, times)
        };
        for _ in 0..times {
            if self.poll(index) || self.is_broken() {
                return;
            }
        }
    }

    fn hint_turn(&mut self) {
        let Some(host) = self.some_host() else { return };
        if self.hosts[host].paused_until > self.world.state().now {
            return;
        }
        let turns = 1 + self.chance(6);
        for _ in 0..turns {
            self.polls += 1;
            self.hosts[host].hint_turn();
        }
    }
}
