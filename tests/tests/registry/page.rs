//! docs/registry.md, word for word.

use std::fs;
use std::os::unix::fs::symlink;

use lucius_tests::host::Setup;
use lucius_tests::page;

use crate::changes::{registry, small};

#[tokio::test]
async fn the_operators_page_does_what_it_says() -> anyhow::Result<()> {
    let mut copied = small()?;
    let host = Setup::quick().registry(copied.path()).start().await;
    symlink(copied.path(), host.folder().join("registry"))?;
    fs::write(host.folder().join("invoice.pdf"), "only a name here")?;
    // The page begins when something has been changed already.
    copied.add_plain_step("STAMP", "acme-stamp")?;
    registry(&host, &["reload"]).await;
    let said = page::run("registry.md", &host).await;
    for shown in [
        "generation 2 stays as it is",
        "generation 3, live since",
        "generation 4, live since",
        "cases in case.json",
        "approved  ocr@1.0.0",
    ] {
        assert!(said.contains(shown), "{shown}: {said}");
    }
    Ok(())
}
