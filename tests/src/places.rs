//! Where the things are that a test needs and does not make itself.

use std::path::{Path, PathBuf};

/// Names another program to test than the one of this workspace's release build.
const PROGRAM_VARIABLE: &str = "LUCIUS_BIN";

/// The workspace.
pub fn workspace() -> PathBuf {
    let below = Path::new(env!("CARGO_MANIFEST_DIR"));
    below.parent().unwrap_or(below).to_owned()
}

/// The built program.
///
/// # Panics
/// It is not there; the text says how to make it.
pub fn program() -> PathBuf {
    let named = std::env::var_os(PROGRAM_VARIABLE).map(PathBuf::from);
    present(named.unwrap_or_else(|| target().join("release/lucius")))
}

/// The registry as the project builds it.
///
/// # Panics
/// It is not built; the text says how to do that.
pub fn registry() -> PathBuf {
    let folder = workspace().join("registry");
    present(folder.join("registry.json"));
    folder
}

/// The folder of the models that the set-up brings.
pub fn models() -> PathBuf {
    target().join("models")
}

/// The script that drives the console, and the folder with what it needs.
///
/// # Panics
/// One of them is not there; the text says how to bring it.
pub fn browser() -> (PathBuf, PathBuf) {
    let modules = target().join("tools/browser");
    present(modules.join("node_modules/playwright-core/package.json"));
    (
        present(workspace().join("tests/browser/console.mjs")),
        modules,
    )
}

/// The program that asks a host what its OpenAPI document allows.
///
/// # Panics
/// It is not there; the text says how to bring it.
pub fn schemathesis() -> PathBuf {
    present(target().join("tools/bin/schemathesis"))
}

/// A document that the OCR tests keep.
pub fn document(name: &str) -> PathBuf {
    present(workspace().join("platform/tests/fixtures").join(name))
}

/// A file of these tests.
pub fn fixture(name: &str) -> PathBuf {
    present(workspace().join("tests/tests/fixtures").join(name))
}

/// The build folder.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || workspace().join("target"),
        |folder| workspace().join(folder),
    )
}

fn present(path: PathBuf) -> PathBuf {
    assert!(
        path.is_file(),
        "{} is missing: run cargo xtask test, which builds what the tests need",
        path.display()
    );
    path
}
