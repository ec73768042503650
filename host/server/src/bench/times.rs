//! How long each stage of a job took.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// An hour; what takes longer counts as this.
const LONGEST_MICROS: u64 = 60 * 60 * 1_000_000;

/// What takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// From when a command was to be sent to its 202.
    Accept,
    /// From when a command was to be sent to its refusal.
    Refuse,
    /// From the 202, or from the answer to a RESULT, to the next directive in a worker's hands.
    Dispatch,
    /// From an ACK to its answer.
    Ack,
    /// From a RESULT to its answer.
    Result,
    /// From when a command was to be sent to the answer to its last RESULT, which is when its end is durable.
    Complete,
}

impl Stage {
    /// In the order of a job's life.
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::Accept, "accept"),
        (Self::Refuse, "refuse"),
        (Self::Dispatch, "dispatch"),
        (Self::Ack, "ack"),
        (Self::Result, "result"),
        (Self::Complete, "complete"),
    ];
}

/// Times in microseconds, a histogram a stage.
pub(super) struct Times([Histogram<u64>; Stage::ALL.len()]);

impl Times {
    pub(super) fn new() -> anyhow::Result<Self> {
        let one = Histogram::new_with_bounds(1, LONGEST_MICROS, 3)?;
        Ok(Self(std::array::from_fn(|_| one.clone())))
    }

    pub(super) fn record(&mut self, stage: Stage, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        self.0[stage as usize].saturating_record(micros);
    }

    pub(super) fn count(&self, stage: Stage) -> u64 {
        self.0[stage as usize].len()
    }

    /// Percentiles in milliseconds of every stage that happened.
    pub(super) fn report(&self) -> Value {
        let happened = Stage::ALL
            .into_iter()
            .filter(|(stage, _)| self.count(*stage) > 0);
        let stages = happened.map(|(stage, name)| {
            let times = &self.0[stage as usize];
            let at = |quantile| ms(times.value_at_quantile(quantile));
            let row = json!({
                "count": times.len(),
                "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999),
                "max": ms(times.max()),
            });
            (name.to_owned(), row)
        });
        Value::Object(stages.collect::<Map<_, _>>())
    }
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}
