//! The README's commands do what they say.
//!
//! A block of shell commands that follows the line `<!-- run -->` is run as it stands, in a folder of its own that
//! holds copies of what the commands may need (`registry`, `docs/demo`), with `lucius` in the PATH and at
//! `target/release/lucius`. Blocks run one after the other in the same folder.

use std::fs;
use std::path::Path;

use lucius_tests::{places, wait};
use tempfile::TempDir;

/// What marks a block of commands that can be run anywhere, without a network.
const MARK: &str = "<!-- run -->\n```sh\n";

/// The marked blocks of a page, in order.
fn blocks(page: &str) -> Vec<&str> {
    page.split(MARK)
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}

#[test]
fn blocks_are_those_that_are_marked() {
    let page = "```sh\nno\n```\n<!-- run -->\n```sh\none\ntwo\n```\ntext\n<!-- run -->\n```sh\nthree\n```\n";
    assert_eq!(blocks(page), ["one\ntwo\n", "three\n"]);
}

#[tokio::test]
async fn every_marked_block_of_the_readme_runs() -> anyhow::Result<()> {
    let readme = fs::read_to_string(places::workspace().join("README.md"))?;
    let blocks = blocks(&readme);
    assert!(
        !blocks.is_empty(),
        "README.md has no block of commands marked with {MARK:?}"
    );
    let folder = TempDir::new()?;
    let release = folder.path().join("target/release");
    fs::create_dir_all(&release)?;
    std::os::unix::fs::symlink(places::program(), release.join("lucius"))?;
    places::registry();
    for shown in ["registry", "docs/demo"] {
        copy_folder(&places::workspace().join(shown), &folder.path().join(shown))?;
    }
    let path = format!(
        "{}:{}",
        release.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    for block in blocks {
        // `-e` so that the first command that fails fails the block.
        let mut shell = tokio::process::Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", block])
            .current_dir(folder.path())
            .env("PATH", &path);
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LUCIUS_"))
        {
            shell.env_remove(name);
        }
        let output = tokio::time::timeout(wait::PATIENCE, shell.kill_on_drop(true).output()).await;
        let output = output.map_err(|_| anyhow::anyhow!("this does not end:\n{block}"))??;
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}\n{said}\n{errors}");
    }
    Ok(())
}
