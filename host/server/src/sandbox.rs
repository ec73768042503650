//! How this program runs plugins.
//!
//! Components are compiled by the very same program, started once more with a hidden command. It is found by the
//! process's own link to its executable, so that a host whose file was replaced by a newer version still compiles by
//! its own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use lucius_wasm::{Bounds, CacheSettings, Child, Compiler, Settings};

use crate::config::Plugins;

/// The hidden command.
pub const COMMAND: &str = "compile-component";
/// Gives way to everything else; not on every machine.
const NICE: &str = "/usr/bin/nice";
/// Room for a hundred components of interpreted languages.
const CACHE_BYTES: u64 = 4 << 30;

/// The bounds of a child, as the host passes them on.
#[derive(Args)]
pub struct Flags {
    #[arg(long)]
    memory_bytes: u64,
    #[arg(long)]
    cpu_seconds: u64,
}

/// Runs the hidden command.
pub fn compile(flags: &Flags) -> ExitCode {
    lucius_wasm::compile_child(Bounds {
        memory_bytes: flags.memory_bytes,
        cpu_seconds: flags.cpu_seconds,
        ..Bounds::default()
    })
}

/// Settings for a sandbox that compiles in child processes and keeps nothing.
pub fn settings(plugins: &Plugins) -> Settings {
    let itself = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    let bounds = Bounds {
        memory_bytes: plugins.compile_memory_bytes,
        cpu_seconds: plugins.compile_cpu_seconds,
        ..Bounds::default()
    };
    let child = if Path::new(NICE).is_file() {
        Child {
            program: NICE.into(),
            arguments: vec!["-n".into(), "19".into(), itself.into(), COMMAND.into()],
            bounds,
        }
    } else {
        Child {
            program: itself,
            arguments: vec![COMMAND.into()],
            bounds,
        }
    };
    Settings {
        compiler: Compiler::Child(child),
        ..Settings::default()
    }
}

/// The same for a host, which keeps compiled code below its data directory.
pub fn settings_of_host(plugins: &Plugins, data_dir: &Path, key: [u8; 32]) -> Settings {
    Settings {
        cache: Some(CacheSettings {
            folder: data_dir.join("compiled"),
            key,
            max_bytes: CACHE_BYTES,
        }),
        ..settings(plugins)
    }
}
