//! From compiled code to a plugin that calls can use at once.

use std::sync::Arc;

use lucius_domain::id::Digest;
use lucius_ports::plugin::AdmissionError;
use tokio::sync::oneshot;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::fault;
use crate::pace::Pace;
use crate::walls::State;
use crate::world::{Exports, World};

/// A compiled component, linked as far as it can be without an instance.
#[derive(Clone)]
pub(crate) struct Plugin {
    /// Who writes to the log.
    pub(crate) name: Arc<str>,
    /// Makes instances.
    pub(crate) pre: InstancePre<State>,
    /// Where its functions are.
    pub(crate) exports: Exports,
    /// How long its calls take.
    pub(crate) pace: Arc<Pace>,
}

/// Links a component to what its version of the contract gives it.
///
/// # Errors
/// What does not fit.
pub(crate) fn link(
    engine: &Engine,
    component: &Component,
    world: World,
    digest: &Digest,
) -> Result<Plugin, AdmissionError> {
    let mut linker = Linker::new(engine);
    let pre = world
        .link(&mut linker)
        .and_then(|()| linker.instantiate_pre(component))
        .map_err(|error| AdmissionError::World(fault::reason(&error)))?;
    let exports = world.exports(component)?;
    let name = digest.to_string().get(..12).unwrap_or_default().into();
    let pace = Arc::default();
    Ok(Plugin {
        name,
        pre,
        exports,
        pace,
    })
}

/// Runs long work on a thread of its own and waits for it without holding up the caller's.
///
/// # Errors
/// When there is no thread, or the work panicked.
pub(crate) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AdmissionError> {
    let (done, wait) = oneshot::channel();
    std::thread::Builder::new()
        .name("lucius-admit".to_owned())
        .stack_size(crate::compiler::STACK_BYTES)
        .spawn(move || {
            // Nobody may be waiting any more; then the result is of no use to anybody.
            let _ = done.send(work());
        })
        .map_err(|error| AdmissionError::Compile(format!("the system gives no thread: {error}")))?;
    wait.await.map_err(|_| {
        AdmissionError::Compile("the host broke down on it: do not use this component".into())
    })
}
