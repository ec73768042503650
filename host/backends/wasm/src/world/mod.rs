//! The versions of the contract that this host serves, side by side.
//!
//! Each version has a module of its own: the types generated from its folder below `wit/`, its log import, and how
//! its answers become the domain's. A new version is a module beside the others and a variant in each enum here;
//! the compiler then names every place that has to choose. A version that was ever shipped stays.

mod v1_0_0;

use lucius_domain::plugin::Description;
use lucius_ports::plugin::{AdmissionError, Answer, Call, Fault};
use wasmtime::Store;
use wasmtime::component::{Component, Instance, Linker};

use crate::output::Output;
use crate::walls::State;

/// How every name of the contract begins.
const PACKAGE: &str = "lucius:step/";

/// One version of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum World {
    /// `lucius:step@1.0.0`.
    V1_0_0,
}

impl World {
    /// Every one, oldest first.
    pub(crate) const ALL: [Self; 1] = [Self::V1_0_0];
    /// What to build a plugin against.
    pub(crate) const NEWEST: Self = Self::V1_0_0;

    /// Its number.
    pub(crate) fn number(self) -> &'static str {
        match self {
            Self::V1_0_0 => "1.0.0",
        }
    }

    /// The interface that a plugin exports.
    pub(crate) fn handler(self) -> &'static str {
        match self {
            Self::V1_0_0 => v1_0_0::HANDLER,
        }
    }

    /// The interfaces that a plugin may import.
    pub(crate) fn imports(self) -> &'static [&'static str] {
        match self {
            Self::V1_0_0 => &v1_0_0::IMPORTS,
        }
    }

    /// The version whose handler this is.
    pub(crate) fn of_handler(export: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|world| world.handler() == export)
    }

    /// True for a name that belongs to the contract in some version, served or not.
    pub(crate) fn is_ours(name: &str, interface: &str) -> bool {
        name.strip_prefix(PACKAGE)
            .and_then(|rest| rest.strip_prefix(interface))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
    }

    /// All numbers, for a text.
    pub(crate) fn numbers() -> String {
        Self::ALL.map(Self::number).join(", ")
    }

    /// Gives guests what they may import.
    ///
    /// # Errors
    /// Never, unless it is given twice.
    pub(crate) fn link(self, linker: &mut Linker<State>) -> wasmtime::Result<()> {
        match self {
            Self::V1_0_0 => v1_0_0::link(linker),
        }
    }

    /// Finds the exported functions.
    ///
    /// # Errors
    /// The one that is missing.
    pub(crate) fn exports(self, component: &Component) -> Result<Exports, AdmissionError> {
        match self {
            Self::V1_0_0 => v1_0_0::Exports::find(component).map(Exports::V1_0_0),
        }
    }
}

/// A component's functions, found once.
#[derive(Clone)]
pub(crate) enum Exports {
    V1_0_0(v1_0_0::Exports),
}

impl Exports {
    /// Checks the type of every export in an instance, so that no call is the first to find out.
    ///
    /// # Errors
    /// The function that differs.
    pub(crate) fn check_types(
        &self,
        instance: &Instance,
        store: &mut Store<State>,
    ) -> Result<(), AdmissionError> {
        match self {
            Self::V1_0_0(exports) => exports.check_types(instance, store),
        }
    }

    /// Asks what the plugin is.
    ///
    /// # Errors
    /// Outside: the guest trapped. Inside: what it said breaks a rule.
    pub(crate) fn describe(
        &self,
        instance: &Instance,
        store: &mut Store<State>,
        output: Output,
    ) -> wasmtime::Result<Result<Description, Fault>> {
        match self {
            Self::V1_0_0(exports) => exports.describe(instance, store, output),
        }
    }

    /// Puts a call.
    ///
    /// # Errors
    /// Outside: the guest trapped. Inside: what it said breaks a rule.
    pub(crate) fn ask(
        &self,
        instance: &Instance,
        store: &mut Store<State>,
        call: &Call,
        output: Output,
    ) -> wasmtime::Result<Result<Answer, Fault>> {
        match self {
            Self::V1_0_0(exports) => exports.ask(instance, store, call, output),
        }
    }
}
