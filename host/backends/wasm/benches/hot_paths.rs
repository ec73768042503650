//! What a plugin call costs, beside what wasmtime alone costs: `cargo bench -p lucius-wasm --bench hot_paths`.
//!
//! The component is the first-party `ocr` plugin as `cargo xtask plugins` builds it; all cases ask it to validate the
//! same payload.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use lucius_domain::id::Digest;
use lucius_ports::plugin::{Answer, Answered, Call, Fault, Limits, Runtime as _};
use lucius_wasm::{Sandbox, Settings};
use serde_json::{Value, json};
use wasmtime::component::{Component, Instance, InstancePre, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../../wit/step-1.0.0",
        world: "step",
    });
}

use bindings::lucius::step::types::Violation;

const FUEL: u64 = 200_000_000;

fn ocr() -> (Arc<[u8]>, Value) {
    let registry = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../registry");
    let text = std::fs::read_to_string(registry.join("registry.json"));
    let manifest: Value = serde_json::from_str(&text.expect("build it: cargo xtask plugins"))
        .expect("the registry is JSON");
    let entry = manifest["plugins"].as_array().into_iter().flatten();
    let mut entry = entry.filter(|plugin| plugin["id"] == "ocr");
    let entry = entry.next().expect("it has the plugin ocr");
    let path = registry.join(entry["component"].as_str().unwrap_or_default());
    let config = entry.get("config").cloned().unwrap_or_else(|| json!({}));
    (std::fs::read(path).expect("the component").into(), config)
}

fn payload() -> Value {
    json!({ "page_range": "1-3,5", "language_hint": "en", "output_format": "TEXT" })
}

/// A refusal is another piece of work, and not what is measured.
fn accepted(said: Result<Answered, Fault>) {
    let answer = said.map(|answered| answered.answer);
    assert!(matches!(answer, Ok(Answer::Validated(Ok(_)))), "{answer:?}");
}

fn sandbox(criterion: &mut Criterion) {
    let (component, config) = ocr();
    let digest = Digest::of(&component);
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let admitted = runtime.block_on(sandbox.admit(component, Limits::default()));
    admitted.expect("it is admitted");
    let call = || Call::Validate {
        payload: payload(),
        config: config.clone(),
    };
    criterion.bench_function("plugin call, fresh instance, on this thread", |bencher| {
        bencher.iter(|| accepted(sandbox.call_here(&digest, Limits::default(), call())));
    });
    criterion.bench_function(
        "plugin call, fresh instance, through the queue",
        |bencher| {
            bencher.iter(|| {
                accepted(runtime.block_on(sandbox.call(&digest, Limits::default(), call())));
            });
        },
    );
}

/// wasmtime with fuel, epochs and a pool as the sandbox has them, and no walls.
struct Bare {
    engine: Engine,
    pre: InstancePre<()>,
    texts: (String, String),
}

impl Bare {
    fn new() -> Self {
        let (bytes, settings) = ocr();
        let pool = InstanceAllocationStrategy::Pooling(PoolingAllocationConfig::new());
        let mut config = Config::new();
        config
            .consume_fuel(true)
            .epoch_interruption(true)
            .allocation_strategy(pool);
        let engine = Engine::new(&config).expect("an engine");
        let component = Component::from_binary(&engine, &bytes).expect("it compiles");
        let mut linker = Linker::new(&engine);
        linker
            .define_unknown_imports_as_traps(&component)
            .expect("its imports");
        Self {
            pre: linker.instantiate_pre(&component).expect("it links"),
            engine,
            texts: (payload().to_string(), settings.to_string()),
        }
    }

    fn fresh(&self) -> (Store<()>, Instance) {
        let mut store = Store::new(&self.engine, ());
        store.set_fuel(FUEL).expect("fuel is on");
        store.set_epoch_deadline(1_000_000);
        let instance = self.pre.instantiate(&mut store).expect("an instance");
        (store, instance)
    }

    fn call(&self, (store, instance): &mut (Store<()>, Instance)) {
        let interface = instance
            .get_export_index(&mut *store, None, "lucius:step/handler@1.0.0")
            .expect("the handler");
        let validate = instance
            .get_export_index(&mut *store, Some(&interface), "validate")
            .expect("the function");
        let validate = instance
            .get_typed_func::<(&str, &str), (Result<String, Vec<Violation>>,)>(
                &mut *store,
                &validate,
            )
            .expect("its type");
        let (payload, config) = &self.texts;
        let said = validate.call(&mut *store, (payload, config));
        said.expect("it answers").0.expect("the payload is right");
    }
}

fn bare(criterion: &mut Criterion) {
    let bare = Bare::new();
    criterion.bench_function("wasmtime alone, fresh instance", |bencher| {
        bencher.iter(|| bare.call(&mut bare.fresh()));
    });
    let mut kept = bare.fresh();
    criterion.bench_function("wasmtime alone, the same instance again", |bencher| {
        bencher.iter(|| {
            kept.0.set_fuel(FUEL).expect("fuel is on");
            bare.call(&mut kept);
        });
    });
}

criterion_group!(benches, sandbox, bare);
criterion_main!(benches);
