//! What trials of plugins come to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lucius_engine::Engine;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::Gauge;

/// Asks the engine whenever somebody looks. A trial's numbers begin anew with the host, so they are levels.
pub struct Trials(pub Arc<Engine>);

impl fmt::Debug for Trials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trials").finish()
    }
}

impl Collector for Trials {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let live = self.0.registry().live();
        let mut metric = encoder.encode_descriptor(
            "trial_questions",
            "Questions of the live trials of plugins since the host's start, by outcome: same, differ, skipped",
            None,
            MetricType::Gauge,
        )?;
        for trial in &live.trials {
            let so_far = self.0.comparison(trial);
            let outcomes = [
                ("same", so_far.same),
                ("differ", so_far.differing()),
                ("skipped", so_far.skipped),
            ];
            for (outcome, questions) in outcomes {
                let labels = [
                    ("mode", trial.mode.as_str().to_owned()),
                    ("candidate", trial.candidate.pin.to_string()),
                    ("outcome", outcome.to_owned()),
                ];
                let level = Gauge::<u64, AtomicU64>::default();
                level.set(questions);
                level.encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
