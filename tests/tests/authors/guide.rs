//! docs/plugins.md, word for word.

use lucius_tests::host::Setup;
use lucius_tests::page;
use lucius_tests::registry::Copied;

#[test]
fn a_page_is_one_script() {
    let page =
        "```sh\nno\n```\n<!-- run -->\n```sh\none\n```\n<!-- run beside -->\n```sh\ntwo\n```\n";
    let script = page::script(page);
    assert!(
        script.ends_with("one\n(\ntwo\n) > beside.log 2>&1 &\n"),
        "{script}"
    );
}

#[tokio::test]
async fn the_authors_guide_leads_from_nothing_to_a_job_done_by_a_new_plugin() -> anyhow::Result<()>
{
    let registry = Copied::new()?;
    let host = Setup::serve().registry(registry.path()).start().await;
    std::os::unix::fs::symlink(registry.path(), host.folder().join("registry"))?;
    let said = page::run("plugins.md", &host).await;
    for shown in ["5 passed, 0 failed", "SUCCEEDED", "redact at level 7"] {
        assert!(said.contains(shown), "{shown}: {said}");
    }
    Ok(())
}
