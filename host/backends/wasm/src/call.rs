//! One question to one fresh instance.

use lucius_domain::plugin::Description;
use lucius_ports::plugin::{AdmissionError, Answered, Call, Fault, Limits};
use wasmtime::{Engine, Store};

use crate::Settings;
use crate::fault;
use crate::load::Plugin;
use crate::output::Output;
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
        plugin.exports.check_types(&instance, &mut store)?;
        let said = plugin
            .exports
            .describe(&instance, &mut store, Output::new(limits))
            .map_err(|error| of_call(&error, &store))?;
        Ok(said?)
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
        let said = plugin
            .pre
            .instantiate(&mut store)
            .and_then(|instance| {
                let output = Output::new(limits);
                plugin.exports.ask(&instance, &mut store, call, output)
            })
            .map_err(|error| fault::of_call(&error, limits, &store.data().room))?;
        let left = store
            .get_fuel()
            .map_err(|error| Fault::Trap(fault::reason(&error)))?;
        Ok(Answered {
            answer: said?,
            fuel: limits.fuel.saturating_sub(left),
        })
    }
}
