//! The README's commands do what they say.
//!
//! A block of shell commands that follows the line `<!-- run -->` is run as it stands beside a running `lucius dev`,
//! in that one's folder, with copies of what the commands may need (`registry`, `docs/demo`) and the program at
//! `target/release/lucius`. Only the address is another than the documented one, since tests use free ports. Blocks
//! run one after the other in the same folder.

use std::fs;
use std::path::Path;

use lucius_tests::host::Setup;
use lucius_tests::{places, wait};

/// Where the documented host listens.
const DOCUMENTED: &str = "http://127.0.0.1:7420";

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
    let models = places::models();
    let host = Setup::dev()
        .with("WORKER_MODELS_DIR", models.display())
        .start()
        .await;
    let release = host.folder().join("target/release");
    fs::create_dir_all(&release)?;
    std::os::unix::fs::symlink(places::program(), release.join("lucius"))?;
    for shown in ["registry", "docs/demo"] {
        copy_folder(&places::workspace().join(shown), &host.folder().join(shown))?;
    }
    for block in blocks {
        // `-e` so that the first command that fails fails the block.
        let block = block.replace(DOCUMENTED, host.url());
        let mut shell = tokio::process::Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", &block])
            .current_dir(host.folder());
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LUCIUS_"))
        {
            shell.env_remove(name);
        }
        shell.env("LUCIUS_URL", host.url());
        let output =
            tokio::time::timeout(wait::patience(), shell.kill_on_drop(true).output()).await;
        let output = output.map_err(|_| anyhow::anyhow!("this does not end:\n{block}"))??;
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}\n{said}\n{errors}");
    }
    Ok(())
}
