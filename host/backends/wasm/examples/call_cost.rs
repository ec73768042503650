//! What a call costs: `cargo run --release -p lucius-wasm --example call_cost -- COMPONENT [PAYLOAD [CONFIG]]`.
//!
//! Prints microseconds for a fresh `validate` call: one at a time (with the hop to the plugin threads and back), and
//! with 64 in flight.

#![allow(clippy::print_stdout, reason = "it is a measuring tool")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use lucius_domain::id::Digest;
use lucius_ports::plugin::{Call, Limits, Runtime};
use lucius_wasm::{Sandbox, Settings};

const CALLS: u32 = 20_000;
const IN_FLIGHT: u32 = 64;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("give the path of a component")?;
    let payload = args.next().unwrap_or_else(|| "{}".to_owned());
    let config = args.next().unwrap_or_else(|| "{}".to_owned());
    let call = Call::Validate {
        payload: serde_json::from_str(&payload)?,
        config: serde_json::from_str(&config)?,
    };
    let component: Arc<[u8]> = std::fs::read(path)?.into();
    let digest = Digest::of(&component);
    let sandbox = Arc::new(Sandbox::start(Settings::default())?);

    let start = Instant::now();
    let description = sandbox
        .admit(Arc::clone(&component), Limits::default())
        .await?;
    println!(
        "admit   {:>9.1} ms  {} {}",
        millis(start),
        description.id,
        description.version
    );
    let start = Instant::now();
    sandbox.admit(component, Limits::default()).await?;
    println!("again   {:>9.1} ms", millis(start));

    let answered = sandbox
        .call(&digest, Limits::default(), call.clone())
        .await?;
    println!("answer  {:?}, {} fuel", answered.answer, answered.fuel);
    let start = Instant::now();
    for _ in 0..CALLS {
        sandbox
            .call(&digest, Limits::default(), call.clone())
            .await?;
    }
    println!(
        "alone   {:>9.1} µs a call",
        millis(start) * 1_000.0 / f64::from(CALLS)
    );

    let start = Instant::now();
    let callers = (0..IN_FLIGHT).map(|_| {
        let (sandbox, call) = (Arc::clone(&sandbox), call.clone());
        tokio::spawn(async move {
            for _ in 0..CALLS / IN_FLIGHT {
                sandbox
                    .call(&digest, Limits::default(), call.clone())
                    .await?;
            }
            Ok::<_, lucius_ports::plugin::Fault>(())
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await??;
    }
    let calls = CALLS / IN_FLIGHT * IN_FLIGHT;
    println!(
        "busy    {:>9.1} µs a call",
        millis(start) * 1_000.0 / f64::from(calls)
    );
    Ok(())
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}
