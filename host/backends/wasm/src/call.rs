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
        call: &Call,
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
            memory_bytes: store.data().room.memory_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guests::{self, Guest};
    use crate::world::World;
    use lucius_domain::id::Digest;
    use lucius_ports::plugin::Answer;
    use wasmtime::component::Component;

    fn plugin(host: &Host, guest: &Guest) -> Plugin {
        let bytes = guest.component();
        let component = Component::new(&host.engine, &bytes).expect("it compiles");
        crate::load::link(&host.engine, &component, World::V1_0_0, &Digest::of(&bytes))
            .expect("it fits")
    }

    #[test]
    fn w1_without_the_thread_that_advances_the_deadline_fuel_alone_ends_a_call() {
        // No ticker runs here at all.
        let settings = Settings::default();
        let engine = crate::engine::start(1, 16 << 20).expect("the engine starts");
        let host = Host { engine, settings };
        let limits = Limits {
            fuel: 1_000_000,
            deadline_ms: 1,
            ..Limits::default()
        };
        let endless = Guest {
            validate: "(loop $again (br $again)) (unreachable)".to_owned(),
            ..Guest::default()
        };
        let ended = host.call(&plugin(&host, &endless), &limits, &guests::validate());
        assert_eq!(ended, Err(Fault::Fuel { limit: 1_000_000 }));
        let friendly = plugin(&host, &Guest::default());
        let answered = host.call(&friendly, &limits, &guests::validate());
        let answered = answered.expect("it answers");
        assert!(matches!(answered.answer, Answer::Validated(Ok(_))));
        let page = 1 << 16;
        let told = page..=limits.memory_bytes;
        assert!(told.contains(&answered.memory_bytes), "{answered:?}");
    }
}
