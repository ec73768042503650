//! Two ledgers that are told the same give the same answers: random but legal operations, from a seed, so that a
//! difference can be had again.

use std::sync::Arc;

use lucius_domain::id::{Digest, JobId};
use lucius_domain::job::{Job, Status};
use lucius_domain::routing::Mode;
use lucius_domain::time::Timestamp;

use super::play::{Draft, KINDS, Move, Play, START, accepted, change, job_id, lane};
use crate::ledger::{Filter, Idempotency, Ledger};

/// A small generator of numbers that look random (SplitMix64); the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let len = u64::try_from(from.len()).unwrap_or(u64::MAX);
        &from[usize::try_from(self.below(len)).unwrap_or(0)]
    }
}

/// What both ledgers are told, and what is known of them.
struct Pair {
    left: Arc<dyn Ledger>,
    right: Arc<dyn Ledger>,
    dice: Dice,
    now: Timestamp,
    serial: u64,
    jobs: Vec<JobId>,
    /// Jobs as they once were, to decide on an old version.
    past: Vec<Arc<Job>>,
}

/// Makes `operations` random operations on both and compares every answer.
///
/// # Panics
/// When an answer differs; the message names the seed and the operation.
pub async fn differential(
    left: Arc<dyn Ledger>,
    right: Arc<dyn Ledger>,
    seed: u64,
    operations: usize,
) {
    let dice = Dice::new(seed);
    let (jobs, past) = (Vec::new(), Vec::new());
    let mut pair = Pair {
        left,
        right,
        dice,
        now: START,
        serial: 0,
        jobs,
        past,
    };
    for number in 0..operations {
        let jump = [0, 1, 900, 30_000, 400_000];
        pair.now = pair.now.plus_ms(*pair.dice.pick(&jump));
        let (what, left, right) = match pair.dice.below(20) {
            0..3 => pair.create().await,
            3 => pair.find().await,
            4..14 => pair.commit().await,
            14 => pair.load().await,
            15 => pair.events().await,
            16 | 17 => pair.due().await,
            18 => pair.list().await,
            _ => pair.counts().await,
        };
        assert_eq!(left, right, "seed {seed}, operation {number}: {what}");
    }
    for id in pair.jobs.clone() {
        let (left, right) = (pair.left.load(id).await, pair.right.load(id).await);
        assert_eq!(text(left), text(right), "seed {seed}, at the end: {id}");
        let left = pair.left.events(id, 0, usize::MAX).await;
        let right = pair.right.events(id, 0, usize::MAX).await;
        assert_eq!(
            text(left),
            text(right),
            "seed {seed}, at the end: events of {id}"
        );
    }
}

/// What was asked, and the two answers as text.
type Answers = (String, String, String);

fn text<T: std::fmt::Debug>(answer: Result<T, crate::ledger::Error>) -> String {
    format!("{:?}", answer.expect("both ledgers work"))
}

impl Pair {
    fn draft(&mut self) -> Draft {
        Draft {
            tenant: (*self.dice.pick(&["acme", "beta", "gamma"])).to_owned(),
            request_type: (*self.dice.pick(&["OCR", "SIS"])).to_owned(),
            mode: *self.dice.pick(&[Mode::Default, Mode::Burst]),
            lane: lane(self.dice.below(3)),
            steps: usize::try_from(self.dice.below(3)).unwrap_or(0) + 1,
            created_at: self.now,
        }
    }

    fn key(&mut self) -> Idempotency {
        let digest = Digest::of(&[u8::try_from(self.dice.below(40)).unwrap_or(0)]);
        match self.dice.below(3) {
            0 => Idempotency::key_of(None, digest),
            _ => Idempotency::key_of(Some(&format!("k{}", self.dice.below(60))), digest),
        }
    }

    fn known(&mut self) -> JobId {
        match self.jobs.is_empty() {
            true => job_id(self.now, u64::MAX),
            false => *self.dice.pick(&self.jobs),
        }
    }

    async fn create(&mut self) -> Answers {
        self.serial += 1;
        let id = job_id(self.now, self.serial);
        let (draft, key) = (self.draft(), self.key());
        let change = accepted(id, &draft);
        self.jobs.push(id);
        self.past.push(Arc::clone(&change.job));
        let left = self.left.create(change.clone(), key.clone()).await;
        let right = self.right.create(change, key).await;
        (format!("create {id}"), text(left), text(right))
    }

    async fn find(&mut self) -> Answers {
        let (tenant, key) = (self.draft().spec().tenant_id.clone(), self.key());
        let left = self.left.find(&tenant, &key).await;
        let right = self.right.find(&tenant, &key).await;
        (format!("find {tenant} {key:?}"), text(left), text(right))
    }

    /// Commits the first of some random moves that is possible; now and then on a version of the past.
    async fn commit(&mut self) -> Answers {
        let known = self.known();
        let mut base = self.left.load(known).await.expect("both ledgers work");
        if self.dice.below(10) == 0 && !self.past.is_empty() {
            base = Some(Arc::clone(self.dice.pick(&self.past)));
        }
        let Some(base) = base else {
            return self.load().await;
        };
        for _ in 0..30 {
            let moves = [*self.dice.pick(&Move::ALL)];
            let lease = u128::from(self.dice.roll());
            let Ok(change) = change(&base, self.now, &moves, lease) else {
                continue;
            };
            self.past.push(Arc::clone(&base));
            let left = self.left.commit(change.clone()).await;
            let right = self.right.commit(change).await;
            return (
                format!("commit {moves:?} to {}", base.id),
                text(left),
                text(right),
            );
        }
        self.load().await
    }

    async fn load(&mut self) -> Answers {
        let id = self.known();
        let (left, right) = (self.left.load(id).await, self.right.load(id).await);
        (format!("load {id}"), text(left), text(right))
    }

    async fn events(&mut self) -> Answers {
        let (id, after) = (self.known(), self.dice.below(12));
        let limit = usize::try_from(self.dice.below(6)).unwrap_or(0);
        let left = self.left.events(id, after, limit).await;
        let right = self.right.events(id, after, limit).await;
        (
            format!("events of {id} after {after}, at most {limit}"),
            text(left),
            text(right),
        )
    }

    async fn due(&mut self) -> Answers {
        let lane = lane(self.dice.below(4));
        let mask = self.dice.below(16);
        let kinds: Vec<_> = KINDS
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| mask >> bit & 1 == 1)
            .collect();
        let kinds: Vec<_> = kinds.into_iter().map(|(_, kind)| kind).collect();
        let limit = usize::try_from(self.dice.below(8)).unwrap_or(0);
        let shift = *self.dice.pick(&[-400_000, -900, 0, 1, 60_000]);
        let now = Timestamp(self.now.0 + shift);
        let left = self.left.due(lane, &kinds, now, limit).await;
        let right = self.right.due(lane, &kinds, now, limit).await;
        (
            format!("due {lane:?} {kinds:?} {now} {limit}"),
            text(left),
            text(right),
        )
    }

    async fn list(&mut self) -> Answers {
        let tenant = *self.dice.pick(&[None, Some("acme"), Some("beta")]);
        let kind = *self.dice.pick(&[None, None, Some("SIS")]);
        let state = *self.dice.pick(&Status::NAMES);
        let filter = Filter {
            tenant_id: tenant.map(Into::into),
            state: (self.dice.below(2) == 0).then_some(state),
            request_type: kind.map(Into::into),
            after: (self.dice.below(2) == 0).then(|| self.known()),
            limit: usize::try_from(self.dice.below(9)).unwrap_or(0),
            error_code: (self.dice.below(6) == 0).then(|| "NO_ROUTE".to_owned()),
            from: (self.dice.below(6) == 0).then_some(START),
            ..Filter::default()
        };
        let left = self.left.list(filter.clone()).await;
        let right = self.right.list(filter.clone()).await;
        (format!("list {filter:?}"), text(left), text(right))
    }

    async fn counts(&mut self) -> Answers {
        let left = Play::on(Arc::clone(&self.left)).counts().await;
        let right = Play::on(Arc::clone(&self.right)).counts().await;
        (
            "counts".to_owned(),
            format!("{left:?}"),
            format!("{right:?}"),
        )
    }
}
