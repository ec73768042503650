//! What is done for every job, each piece by itself.
//!
//! The same pieces are timed by criterion (`benches/hot_paths.rs`) and counted in instructions by callgrind (the
//! program of this crate, run by `cargo xtask bench`), since a count does not depend on what else the machine does.

mod pieces;
mod stores;

pub use pieces::{canonical, decide, encode, validate};
pub use stores::{Bus, Ledger};

/// The pieces that are counted; each runs in this process alone. A plugin call is timed by the sandbox's own bench and
/// not counted: its code is made at run time.
pub const COUNTED: [&str; 6] = ["decide", "canonical", "validate", "encode", "ledger", "bus"];

/// Runs a counted piece so many times.
///
/// # Errors
/// There is no such piece, or there is no room for its files.
pub fn run(piece: &str, times: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    match piece {
        "decide" => (0..times).for_each(|_| drop(decide())),
        "canonical" => {
            let command = pieces::command();
            (0..times).for_each(|_| {
                std::hint::black_box(canonical(&command));
            });
        }
        "validate" => {
            let schemas = pieces::schemas()?;
            (0..times).for_each(|_| validate(&schemas));
        }
        "encode" => {
            let job = decide();
            (0..times).for_each(|_| drop(encode(&job)));
        }
        "ledger" => {
            let mut ledger = Ledger::open(folder.path())?;
            (0..times).for_each(|_| ledger.job());
        }
        "bus" => {
            let mut bus = Bus::open(folder.path())?;
            (0..times).for_each(|_| bus.message());
        }
        other => anyhow::bail!("\"{other}\" is none of {}", COUNTED.join(", ")),
    }
    Ok(())
}
