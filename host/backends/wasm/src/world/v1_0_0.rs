//! `lucius:step@1.0.0`.
//!
//! Of what is generated only the types are used. Exports are looked up by an index found once per component, and only
//! the function that is called is type-checked in its instance: the generated loader would check all four on every
//! call.

mod convert;

use lucius_domain::plugin::Description;
use lucius_ports::plugin::{AdmissionError, Answer, Call, Fault};
use tracing::Level;
use wasmtime::component::{Component, ComponentExportIndex, Instance, Linker, WasmStr};
use wasmtime::{Store, StoreContextMut};

use self::bindings::lucius::step::types as wit;
use crate::output::Output;
use crate::walls::State;
use crate::{fault, log};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../../wit/step-1.0.0",
        world: "step",
    });
}

/// The interface that a plugin exports.
pub(super) const HANDLER: &str = "lucius:step/handler@1.0.0";
const LOG: &str = "lucius:step/log@1.0.0";
/// The log, and the types it speaks in: an import without a single function.
pub(super) const IMPORTS: [&str; 2] = [LOG, "lucius:step/types@1.0.0"];

type DescribeResult = (wit::Description,);
type ValidateResult = (Result<String, Vec<wit::Violation>>,);
type RouteResult = (wit::RouteDecision,);
type SettleResult = (wit::SettleDecision,);

/// Gives guests the log.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.instance(LOG)?.func_wrap("write", write)
}

fn write(
    store: StoreContextMut<'_, State>,
    (level, message): (wit::Level, WasmStr),
) -> wasmtime::Result<()> {
    let level = match level {
        wit::Level::Debug => Level::DEBUG,
        wit::Level::Info => Level::INFO,
        wit::Level::Warn => Level::WARN,
        wit::Level::Error => Level::ERROR,
    };
    log::write(store, level, &message)
}

/// Where the functions are.
#[derive(Clone)]
pub(crate) struct Exports {
    describe: ComponentExportIndex,
    validate: ComponentExportIndex,
    route: ComponentExportIndex,
    settle: ComponentExportIndex,
}

impl Exports {
    pub(super) fn find(component: &Component) -> Result<Self, AdmissionError> {
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
        Ok(Self {
            describe: find("describe")?,
            validate: find("validate")?,
            route: find("route")?,
            settle: find("settle")?,
        })
    }

    pub(super) fn check_types(
        &self,
        instance: &Instance,
        store: &mut Store<State>,
    ) -> Result<(), AdmissionError> {
        let Self {
            describe,
            validate,
            route,
            settle,
        } = self;
        let differs = |name: &str, error: &wasmtime::Error| {
            AdmissionError::World(format!(
                "{HANDLER} exports {name} with another type: {}",
                fault::reason(error)
            ))
        };
        instance
            .get_typed_func::<(), DescribeResult>(&mut *store, describe)
            .map_err(|error| differs("describe", &error))?;
        instance
            .get_typed_func::<(&str, &str), ValidateResult>(&mut *store, validate)
            .map_err(|error| differs("validate", &error))?;
        instance
            .get_typed_func::<(&wit::Context,), RouteResult>(&mut *store, route)
            .map_err(|error| differs("route", &error))?;
        instance
            .get_typed_func::<(&wit::Context, &wit::Outcome), SettleResult>(&mut *store, settle)
            .map_err(|error| differs("settle", &error))?;
        Ok(())
    }

    pub(super) fn describe(
        &self,
        instance: &Instance,
        store: &mut Store<State>,
        output: Output,
    ) -> wasmtime::Result<Result<Description, Fault>> {
        let describe = instance.get_typed_func(&mut *store, self.describe)?;
        let said: DescribeResult = describe.call(store, ())?;
        Ok(convert::described(said, output))
    }

    pub(super) fn ask(
        &self,
        instance: &Instance,
        store: &mut Store<State>,
        call: &Call,
        output: Output,
    ) -> wasmtime::Result<Result<Answer, Fault>> {
        match call {
            Call::Validate { payload, config } => {
                let validate = instance.get_typed_func(&mut *store, self.validate)?;
                let (payload, config) = (convert::text(payload), convert::text(config));
                let said: ValidateResult = validate.call(store, (&*payload, &*config))?;
                Ok(convert::validated(said, output))
            }
            Call::Route { context } => {
                let route = instance.get_typed_func(&mut *store, self.route)?;
                let said: RouteResult = route.call(store, (&convert::context(context),))?;
                Ok(convert::routed(said, output))
            }
            Call::Settle { context, report } => {
                let settle = instance.get_typed_func(&mut *store, self.settle)?;
                let (context, outcome) = (convert::context(context), convert::outcome(report));
                let said: SettleResult = settle.call(store, (&context, &outcome))?;
                Ok(convert::settled(said, output))
            }
        }
    }
}
