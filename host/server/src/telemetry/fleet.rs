//! Which lanes this host looks after, and how many hosts there are.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lucius_domain::routing::Lane;
use lucius_engine::Engine;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::Gauge;

/// Asks the engine whenever somebody looks.
pub struct Fleet(pub Arc<Engine>);

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fleet").finish()
    }
}

fn level(value: u64) -> Gauge<u64, AtomicU64> {
    let level = Gauge::default();
    level.set(value);
    level
}

impl Collector for Fleet {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let engine = &self.0;
        let (roster, now) = (engine.roster(), engine.ports().clock.now());
        let claim = engine.settings().fleet.claim;
        let is_alive = |host| claim.is_none_or(|claim| roster.is_alive(host, now, claim));
        let alive = roster.hosts.keys().filter(|host| is_alive(host)).count();
        let mut lanes = encoder.encode_descriptor(
            "lane_held",
            "1 when this host does the scans and sweeps of the lane; over all hosts each lane adds up to 1",
            None,
            MetricType::Gauge,
        )?;
        for lane in Lane::all() {
            let held = roster.holder(lane, now) == Some(engine.host_id());
            let labels = [("lane", lane.number().to_string())];
            level(u64::from(held)).encode(lanes.encode_family(&labels)?)?;
        }
        let hosts = level(u64::try_from(alive).unwrap_or(u64::MAX));
        let help = "Hosts that share the ledger and said lately that they are there";
        let metric = encoder.encode_descriptor("hosts_alive", help, None, MetricType::Gauge)?;
        hosts.encode(metric)
    }
}
