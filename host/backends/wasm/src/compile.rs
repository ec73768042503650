//! From a component's bytes to something a call can use at once.
//!
//! Compiling is slow (tens of milliseconds for a small plugin, seconds for one that carries a language runtime), so
//! it runs on a thread of its own, and the caller lets one run at a time. Only bytes are taken, never compiled code:
//! reading back compiled code from outside would run it.

use std::sync::Arc;

use lucius_domain::id::Digest;
use lucius_ports::plugin::AdmissionError;
use tokio::sync::oneshot;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};
use wasmtime::{Engine, Store};

use crate::admission::HANDLER;
use crate::walls::State;
use crate::{convert, fault, log};

/// Room for a compiler that recurses over hostile input.
const STACK_BYTES: usize = 16 << 20;

/// A compiled component, linked as far as it can be without an instance.
#[derive(Clone)]
pub(crate) struct Plugin {
    /// Who writes to the log.
    pub(crate) name: Arc<str>,
    /// Makes instances.
    pub(crate) pre: InstancePre<State>,
    /// Where its functions are.
    pub(crate) handler: Handler,
}

/// The exports, found once.
#[derive(Clone)]
pub(crate) struct Handler {
    pub(crate) describe: ComponentExportIndex,
    pub(crate) validate: ComponentExportIndex,
    pub(crate) route: ComponentExportIndex,
    pub(crate) settle: ComponentExportIndex,
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
        .name("lucius-compile".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            // Nobody may be waiting any more; then the result is of no use to anybody.
            let _ = done.send(work());
        })
        .map_err(|error| AdmissionError::Compile(format!("the system gives no thread: {error}")))?;
    wait.await.map_err(|_| {
        AdmissionError::Compile("the compiler broke down on it: do not use this component".into())
    })
}

/// Compiles and links; the bytes have passed [`crate::admission::inspect`].
///
/// # Errors
/// What is wrong with the component.
pub(crate) fn compile(
    engine: &Engine,
    bytes: &[u8],
    digest: &Digest,
) -> Result<Plugin, AdmissionError> {
    let component = Component::from_binary(engine, bytes).map_err(|error| refused(&error))?;
    let mut linker = Linker::new(engine);
    let pre = log::link(&mut linker)
        .and_then(|()| linker.instantiate_pre(&component))
        .map_err(|error| AdmissionError::World(fault::reason(&error)))?;
    let handler = handler(&component)?;
    let name = digest.to_string().get(..12).unwrap_or_default().into();
    Ok(Plugin { name, pre, handler })
}

fn refused(error: &wasmtime::Error) -> AdmissionError {
    let reason = fault::reason(error);
    // The compiler reports invalid code inside a module as text alone.
    let invalid = reason.starts_with("Invalid input WebAssembly code");
    if invalid
        || error
            .downcast_ref::<wasmparser::BinaryReaderError>()
            .is_some()
    {
        AdmissionError::NotAComponent(reason)
    } else if reason.contains("exceeds") {
        AdmissionError::Resources(reason)
    } else {
        AdmissionError::Compile(reason)
    }
}

fn handler(component: &Component) -> Result<Handler, AdmissionError> {
    let interface = component
        .get_export_index(None, HANDLER)
        .ok_or_else(|| AdmissionError::World(format!("does not export {HANDLER}")))?;
    let find = |name: &str| {
        component
            .get_export_index(Some(&interface), name)
            .ok_or_else(|| {
                AdmissionError::World(format!("{HANDLER} does not export {name}: implement it"))
            })
    };
    Ok(Handler {
        describe: find("describe")?,
        validate: find("validate")?,
        route: find("route")?,
        settle: find("settle")?,
    })
}

/// Checks the type of every export in an instance, so that no call is the first to find out.
///
/// # Errors
/// The function that differs.
pub(crate) fn check_types(
    plugin: &Plugin,
    instance: &wasmtime::component::Instance,
    store: &mut Store<State>,
) -> Result<(), AdmissionError> {
    let Handler {
        describe,
        validate,
        route,
        settle,
    } = &plugin.handler;
    let differs = |name: &str, error: &wasmtime::Error| {
        AdmissionError::World(format!(
            "{HANDLER} exports {name} with another type: {}",
            fault::reason(error)
        ))
    };
    instance
        .get_typed_func::<(), convert::DescribeResult>(&mut *store, describe)
        .map_err(|error| differs("describe", &error))?;
    instance
        .get_typed_func::<(&str, &str), convert::ValidateResult>(&mut *store, validate)
        .map_err(|error| differs("validate", &error))?;
    instance
        .get_typed_func::<(&convert::wit::Context,), convert::RouteResult>(&mut *store, route)
        .map_err(|error| differs("route", &error))?;
    instance
        .get_typed_func::<(&convert::wit::Context, &convert::wit::Outcome), convert::SettleResult>(
            &mut *store,
            settle,
        )
        .map_err(|error| differs("settle", &error))?;
    Ok(())
}
