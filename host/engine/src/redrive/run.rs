//! Working on redrives: a tick takes the next few of each in hand, starts them and counts them.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use lucius_domain::decide::{Input, Rejection};
use lucius_domain::id::{JobId, ServiceName};
use lucius_domain::job::{Job, Migration};
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use lucius_ports::records::{Versioned, Written};

use super::latest::move_to;
use super::{Error, MAX_REFUSALS, PluginChoice, Redrive, Refused, State, Target, is_due};
use crate::Engine;
use crate::drive::{DriveError, Driven};
use crate::verbs::Again;

/// How many are taken in hand at most; their ids fit into one record.
const MAX_IN_HAND: u64 = 500;
/// How many jobs are started at once, so that they share commits.
const AT_ONCE: usize = 32;
/// How long whoever has some in hand may take before somebody else takes them, in milliseconds.
const HOLD_MS: u64 = 60_000;
/// How often a count is written against somebody who stops the redrive.
const MAX_CONFLICTS: usize = 32;

/// What became of some jobs or messages.
#[derive(Debug, Default)]
struct Tally {
    redriven: u64,
    refused: u64,
    refusals: Vec<Refused>,
    /// The ledger did not say, or a gate has no place for them; they are tried again.
    undecided: Vec<JobId>,
    /// What they wait for, if it is a gate or a pause.
    waits_for: Option<String>,
    /// There are no more.
    exhausted: bool,
}

/// What became of one job.
enum Outcome {
    Redriven,
    Refused(String),
    /// A gate or a pause stands in the way, by its name.
    Waits(String),
}

/// Works on the redrives that are under way, until dropped.
pub(crate) async fn run(engine: &Arc<Engine>) {
    loop {
        let wait = engine.settings.sweep_interval;
        engine.ports.clock.sleep(wait).await;
        if let Err(error) = engine.redrive_tick().await {
            tracing::warn!(%error, "the redrives were not worked on; they are again");
        }
    }
}

impl Engine {
    /// Takes the next jobs or messages of every redrive whose time has come. Returns how many were started.
    ///
    /// # Errors
    /// The ledger or the bus did not answer; the next tick goes on.
    pub async fn redrive_tick(&self) -> Result<u64, Error> {
        let mut started = 0;
        for versioned in self.records().all::<Redrive>().await? {
            let redrive = &versioned.document;
            let is_due = redrive.next_at <= self.ports.clock.now();
            if redrive.state == State::Running && is_due {
                started += self.work_on(versioned).await?;
            }
        }
        Ok(started)
    }

    async fn work_on(&self, found: Versioned<Redrive>) -> Result<u64, Error> {
        let Some(held) = self.take_in_hand(found).await? else {
            return Ok(0); // somebody else has it
        };
        let tally = match held.target.clone() {
            Target::Jobs { .. } => self.start_jobs(&held).await,
            Target::Bus { lane, service } => self.drain_queue(&held, lane, &service).await?,
        };
        let started = tally.redriven;
        self.count(held, tally).await?;
        Ok(started)
    }

    /// Claims the redrive, with the jobs that come next written into it.
    async fn take_in_hand(&self, found: Versioned<Redrive>) -> Result<Option<Redrive>, Error> {
        let Versioned {
            key,
            version,
            mut document,
        } = found;
        if let Target::Jobs { selection } = &document.target
            && document.in_hand.is_empty()
        {
            let limit = usize::try_from(self.batch(document.rate)).unwrap_or(1);
            let filter = selection.filter(document.after, limit);
            let next = self.ports.ledger.list(filter).await?;
            document.after = next.last().map_or(document.after, |last| Some(last.id));
            let due = next.iter().filter(|job| is_due(job, document.created_at));
            document.in_hand = due.map(|job| job.id).collect();
            if next.is_empty() {
                document.state = State::Done;
                document.ended_at = Some(self.ports.clock.now());
            }
        }
        document.holder = self.ports.ids.lease_id().0;
        document.next_at = self.ports.clock.now().plus_ms(HOLD_MS);
        let written = self.records().write(&key, &document, Some(version)).await?;
        let is_mine = matches!(written, Written::Done(_)) && document.state == State::Running;
        Ok(is_mine.then_some(document))
    }

    /// How many a tick takes, so that ticks keep the pace.
    fn batch(&self, rate: u32) -> u64 {
        let tick_ms = u64::try_from(self.settings.sweep_interval.as_millis()).unwrap_or(u64::MAX);
        let batch = u64::from(rate).saturating_mul(tick_ms) / 1_000;
        batch.clamp(1, MAX_IN_HAND)
    }

    async fn start_jobs(&self, held: &Redrive) -> Tally {
        let mut outcomes = stream::iter(held.in_hand.clone())
            .map(|job| async move { (job, self.start_one(job, held).await) })
            .buffer_unordered(AT_ONCE);
        let mut tally = Tally::default();
        while let Some((job, outcome)) = outcomes.next().await {
            match outcome {
                Ok(Outcome::Redriven) => tally.redriven += 1,
                Ok(Outcome::Refused(reason)) => {
                    tally.refused += 1;
                    tally.refusals.push(Refused { job, reason });
                }
                Ok(Outcome::Waits(gate)) => {
                    tally.undecided.push(job);
                    tally.waits_for = Some(gate);
                }
                Err(error) => {
                    tracing::warn!(jobId = %job, %error, "a redrive tries this job again");
                    tally.undecided.push(job);
                }
            }
        }
        tally
    }

    async fn start_one(&self, id: JobId, held: &Redrive) -> Result<Outcome, DriveError> {
        let Some(job) = self.ports.ledger.load(id).await? else {
            return Ok(Outcome::Refused("the job is gone".to_owned()));
        };
        // It had failed when it was taken in hand, and nothing but a redrive takes a job out of that: when it stands
        // there no more, it was started by whoever had it in hand before and did not come to count it.
        if !is_due(&job, held.created_at) {
            return Ok(Outcome::Redriven);
        }
        let live = self.registry().live();
        let moved = match held.version {
            PluginChoice::Pinned => Ok(None),
            PluginChoice::Latest => move_to(&live, &job),
        };
        let moved = match moved {
            Ok(moved) => moved,
            Err(reason) => return Ok(Outcome::Refused(reason)),
        };
        // Before a plugin is asked at the tenant's expense, which a job that waits would have done at every tick.
        let _place = match self.place_again(&job, moved.as_ref()).await? {
            Again::Place(place) => place,
            Again::Full(full) => return Ok(Outcome::Waits(full.gate.as_str().to_owned())),
            Again::Paused(pause) => return Ok(Outcome::Waits(format!("pause {}", pause.target))),
        };
        if moved.is_some()
            && let Err(reason) = self.check_under(&live, &job).await
        {
            return Ok(Outcome::Refused(reason));
        }
        let created_at = held.created_at;
        match self.restart(id, job, created_at, moved).await? {
            // Rejected: another redrive was faster, and the job is under way.
            Driven::Changed(_) | Driven::Rejected(_, Rejection::NotFailed) => Ok(Outcome::Redriven),
            Driven::Rejected(_, rejection) => Ok(Outcome::Refused(rejection.to_string())),
            Driven::NotFound => Ok(Outcome::Refused("the job is gone".to_owned())),
        }
    }

    async fn restart(
        &self,
        id: JobId,
        job: Arc<Job>,
        created_at: Timestamp,
        moved: Option<Migration>,
    ) -> Result<Driven, DriveError> {
        self.drive_with(id, Some(job), |transition| {
            // After a conflict this is another version of the job, which may have failed anew.
            if !is_due(transition.job(), created_at) {
                return Err(Rejection::NotFailed);
            }
            if let Some(Migration {
                generation,
                plugins,
            }) = moved.clone()
            {
                transition.apply(Input::Migrate {
                    generation,
                    plugins,
                })?;
            }
            transition.apply(Input::Redrive)
        })
        .await
    }

    async fn drain_queue(
        &self,
        held: &Redrive,
        lane: Lane,
        service: &ServiceName,
    ) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        for _ in 0..self.batch(held.rate) {
            use crate::dead_letters::{DrainError, Drained};
            match self.drain_one(lane, service).await {
                Ok(Some(Drained::Resent)) => tally.redriven += 1,
                Ok(Some(Drained::Dropped)) => tally.refused += 1,
                Ok(None) => {
                    tally.exhausted = true;
                    break;
                }
                Err(DrainError::Bus(error)) => return Err(error.into()),
                Err(DrainError::Ledger(error)) => return Err(error.into()),
            }
        }
        Ok(tally)
    }

    /// Writes down what became of what was in hand. Somebody who stopped the redrive meanwhile has their way.
    async fn count(&self, held: Redrive, tally: Tally) -> Result<(), Error> {
        let taken = tally.redriven + tally.refused;
        let pause_ms = taken.saturating_mul(1_000) / u64::from(held.rate.max(1));
        for _ in 0..MAX_CONFLICTS {
            let Some(found) = self.records().read::<Redrive>(&held.id.key()).await? else {
                return Ok(());
            };
            let mut now = found.document;
            if now.holder != held.holder {
                return Ok(()); // taken over by another host, which counts
            }
            let at = self.ports.clock.now();
            now.redriven += tally.redriven;
            now.refused += tally.refused;
            now.refusals.extend(tally.refusals.iter().cloned());
            let surplus = now.refusals.len().saturating_sub(MAX_REFUSALS);
            now.refusals.drain(..surplus);
            now.in_hand.clone_from(&tally.undecided);
            now.waits_for.clone_from(&tally.waits_for);
            now.next_at = at.plus_ms(pause_ms);
            if tally.exhausted && now.state == State::Running {
                now.state = State::Done;
                now.ended_at = Some(at);
            }
            let written = self.records().write(&found.key, &now, Some(found.version));
            match written.await? {
                Written::Done(_) => return Ok(()),
                Written::Conflict => {}
            }
        }
        Err(Error::Contended)
    }
}
