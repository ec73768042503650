//! The child process: bounds first, then the component, then the answer.
//!
//! Component on standard input to its end; one byte that says what follows and then compiled code or a reason on
//! standard output. The process sets its bounds itself before it reads the first byte: until then it runs nothing but
//! the host's own code.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use lucius_ports::plugin::AdmissionError;
use rlimit::Resource;

use super::{Bounds, STACK_BYTES, compile};
use crate::engine;

/// What follows in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Compiled,
    NotAComponent,
    Resources,
    Compile,
}

impl Tag {
    const ALL: [Self; 4] = [
        Self::Compiled,
        Self::NotAComponent,
        Self::Resources,
        Self::Compile,
    ];

    fn byte(self) -> u8 {
        match self {
            Self::Compiled => b'c',
            Self::NotAComponent => b'n',
            Self::Resources => b'r',
            Self::Compile => b'x',
        }
    }

    pub(super) fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tag| tag.byte() == byte)
    }
}

/// The exit code of a child whose compiler panicked on the component.
pub(super) const BROKE_DOWN: u8 = 70;

/// Compiles the component on standard input within bounds, and answers on standard output. For the program that
/// [`crate::Child`] names; nothing else of it should have run before.
pub fn compile_child(bounds: Bounds) -> ExitCode {
    match confine(bounds).and_then(|()| answer()) {
        Ok(code) => code,
        Err(error) => {
            // The host reads this line; without it there is only the exit code.
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn confine(bounds: Bounds) -> std::io::Result<()> {
    // The hard limit is later, so that the signal says which limit it was.
    limit(
        Resource::CPU,
        bounds.cpu_seconds,
        bounds.cpu_seconds.saturating_add(5),
    )?;
    limit(Resource::AS, bounds.memory_bytes, bounds.memory_bytes)?;
    // It writes to a pipe, and to no file.
    limit(Resource::FSIZE, 0, 0)?;
    limit(Resource::CORE, 0, 0)
}

fn limit(resource: Resource, soft: u64, hard: u64) -> std::io::Result<()> {
    let (_, most) = resource.get()?;
    resource.set(soft.min(most), hard.min(most))
}

fn answer() -> std::io::Result<ExitCode> {
    let mut component = Vec::new();
    std::io::stdin().lock().read_to_end(&mut component)?;
    let compiler = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let engine = engine::compiler()
                .map_err(|error| AdmissionError::Compile(crate::fault::reason(&error)))?;
            compile(&engine, &component)
        })?;
    let Ok(compiled) = compiler.join() else {
        return Ok(ExitCode::from(BROKE_DOWN));
    };
    let (tag, text) = match compiled {
        Ok(code) => (Tag::Compiled, code),
        Err(AdmissionError::NotAComponent(reason)) => (Tag::NotAComponent, reason.into()),
        Err(AdmissionError::Resources(reason)) => (Tag::Resources, reason.into()),
        Err(AdmissionError::Compile(reason)) => (Tag::Compile, reason.into()),
        Err(other) => (Tag::Compile, other.to_string().into()),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(&[tag.byte()])?;
    out.write_all(&text)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
