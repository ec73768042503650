//! One question to one fresh instance.

use lucius_domain::plugin::Description;
use lucius_ports::plugin::{AdmissionError, Answer, Answered, Call, Fault, Limits};
use wasmtime::{Engine, Store};

use crate::Settings;
use crate::compile::{self, Plugin};
use crate::convert::{self, Output};
use crate::fault;
use crate::walls::{self, State};

/// What every call needs of the host.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) settings: Settings,
}

impl Host {
    fn store(&self, plugin: &Plugin, limits: &Limits) -> Result<Store<State>, Fault> {
        walls::store(
            &self.engine,
            limits,
            walls::lines(&plugin.name, &self.settings),
        )
        .map_err(|error| Fault::Busy(fault::reason(&error)))
    }

    /// Asks a plugin what it is, and checks the types of all it exports.
    ///
    /// # Errors
    /// What keeps it from being admitted.
    pub(crate) fn describe(
        &self,
        plugin: &Plugin,
        limits: &Limits,
    ) -> Result<Description, AdmissionError> {
        let mut store = self.store(plugin, limits)?;
        let of_call = |error: &wasmtime::Error, store: &Store<State>| {
            fault::of_call(error, limits, &store.data().room)
        };
        let instance = plugin
            .pre
            .instantiate(&mut store)
            .map_err(|error| of_call(&error, &store))?;
        compile::check_types(plugin, &instance, &mut store)?;
        let said = instance
            .get_typed_func(&mut store, plugin.handler.describe)
            .and_then(|describe| describe.call(&mut store, ()))
            .map_err(|error| of_call(&error, &store))?;
        Ok(Output::new(limits).described(said)?)
    }

    /// Puts a call to a plugin.
    ///
    /// # Errors
    /// How it went wrong.
    pub(crate) fn call(
        &self,
        plugin: &Plugin,
        limits: &Limits,
        call: Call,
    ) -> Result<Answered, Fault> {
        let mut store = self.store(plugin, limits)?;
        let said = ask(plugin, &mut store, call)
            .map_err(|error| fault::of_call(&error, limits, &store.data().room))?;
        let left = store
            .get_fuel()
            .map_err(|error| Fault::Trap(fault::reason(&error)))?;
        let answer = said.read(Output::new(limits))?;
        Ok(Answered {
            answer,
            fuel: limits.fuel.saturating_sub(left),
        })
    }
}

/// What a guest returned, not yet believed.
enum Said {
    Validated(convert::ValidateResult),
    Routed(convert::RouteResult),
    Settled(convert::SettleResult),
}

impl Said {
    fn read(self, output: Output) -> Result<Answer, Fault> {
        match self {
            Self::Validated(said) => output.validated(said),
            Self::Routed(said) => output.routed(said),
            Self::Settled(said) => output.settled(said),
        }
    }
}

fn ask(plugin: &Plugin, store: &mut Store<State>, call: Call) -> wasmtime::Result<Said> {
    let instance = plugin.pre.instantiate(&mut *store)?;
    match call {
        Call::Validate { payload, config } => {
            let validate = instance.get_typed_func(&mut *store, plugin.handler.validate)?;
            let (payload, config) = (payload.to_string(), config.to_string());
            Ok(Said::Validated(
                validate.call(store, (&*payload, &*config))?,
            ))
        }
        Call::Route { context } => {
            let route = instance.get_typed_func(&mut *store, plugin.handler.route)?;
            Ok(Said::Routed(
                route.call(store, (&convert::context(*context),))?,
            ))
        }
        Call::Settle { context, report } => {
            let settle = instance.get_typed_func(&mut *store, plugin.handler.settle)?;
            let (context, outcome) = (convert::context(*context), convert::outcome(report));
            Ok(Said::Settled(settle.call(store, (&context, &outcome))?))
        }
    }
}
