//! Compiling a stranger's component without trusting it to be compilable.
//!
//! A compiler takes seconds for a component that carries a language runtime, and a hostile one can make it take
//! hours, or all memory. So it runs in a child process with bounds that the kernel keeps ([`child`]); the host only
//! waits. A child that had to be stopped, or broke down, is a verdict on the component: it is kept, and the same bytes
//! are not tried again under the same bounds.

pub(crate) mod child;
mod parent;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use lucius_ports::plugin::AdmissionError;
use serde::{Deserialize, Serialize};
use wasmtime::Engine;

use crate::fault;
use crate::load::apart;

/// Room for a compiler that recurses over hostile input.
pub(crate) const STACK_BYTES: usize = 16 << 20;

/// Where components are compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Compiler {
    /// In this process, unbounded: for tests and for tools whose user trusts the component.
    #[default]
    Here,
    /// In a child process.
    Child(Child),
}

/// How to start the child process, and what it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// A program that calls [`crate::compile_child`].
    pub program: PathBuf,
    /// What makes it do so.
    pub arguments: Vec<OsString>,
    /// What it may use.
    pub bounds: Bounds,
}

/// What compiling one component may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Address space of the child, in bytes.
    pub memory_bytes: u64,
    /// Processor time, in seconds.
    pub cpu_seconds: u64,
    /// Wall-clock time, in seconds, after which the host gives up: the backstop on a machine that is short of
    /// processor time, and thus no verdict on the component.
    pub wall_seconds: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            memory_bytes: 2 << 30,
            cpu_seconds: 60,
            wall_seconds: 300,
        }
    }
}

impl Bounds {
    /// True when more was tried already.
    pub(crate) fn within(self, tried: Self) -> bool {
        self.memory_bytes <= tried.memory_bytes && self.cpu_seconds <= tried.cpu_seconds
    }
}

/// Why there is no compiled code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The compiler said no.
    Refused(AdmissionError),
    /// The compiler had to be stopped, or broke down.
    Stopped {
        /// In words.
        why: String,
        /// What it was allowed.
        bounds: Bounds,
    },
}

impl Compiler {
    /// Compiles a component that admission has looked at.
    ///
    /// # Errors
    /// Why it is not compiled.
    pub(crate) async fn compile(
        &self,
        engine: &Engine,
        component: Arc<[u8]>,
    ) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Here => {
                let engine = engine.clone();
                apart(move || compile(&engine, &component))
                    .await
                    .and_then(|compiled| compiled)
                    .map_err(Failure::Refused)
            }
            Self::Child(child) => parent::compile(child, &component).await,
        }
    }
}

/// Compiles in this process.
///
/// # Errors
/// What the compiler says.
fn compile(engine: &Engine, component: &[u8]) -> Result<Vec<u8>, AdmissionError> {
    engine
        .precompile_component(component)
        .map_err(|error| refused(&error))
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
