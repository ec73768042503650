//! The author's side: a folder to work in, and the tools as an author has them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use crate::places;
use crate::program::{Ended, Run};

/// The languages of the example, by the names of their folders.
pub const LANGUAGES: [&str; 3] = ["rust", "javascript", "python"];

/// `lucius plugin ARGS` in a folder, with the tools of the set-up at hand and cargo kept off the network.
pub fn plugin(folder: &Path, args: &[&str]) -> Run {
    let args = [&["plugin"], args].concat();
    Run::new(folder, args)
        .with("PATH", path())
        .with("CARGO_NET_OFFLINE", "true")
        // One folder for all, so that nothing is compiled twice.
        .with("CARGO_TARGET_DIR", places::target().join("authors"))
}

/// `PATH` with the program and the set-up's tools in front.
pub fn path() -> OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let program = places::program();
    let own = [
        places::target().join("tools/bin"),
        program.parent().unwrap_or(&program).to_owned(),
    ];
    let all = own.into_iter().chain(std::env::split_paths(&inherited));
    std::env::join_paths(all).unwrap_or(inherited)
}

/// The folder of the example REDACT in a language.
pub fn example(language: &str) -> PathBuf {
    places::workspace()
        .join("plugins/examples/redact")
        .join(language)
}

/// The example in Rust with its component built, once for all tests.
pub async fn redact() -> PathBuf {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build = async || {
        let folder = example("rust");
        build(&folder).await;
        folder
    };
    BUILT.get_or_init(build).await.clone()
}

/// Builds a plugin.
///
/// # Panics
/// It does not build.
pub async fn build(folder: &Path) -> Ended {
    let run = plugin(folder, &["build"]).patient();
    run.ended().await.expect(0)
}
