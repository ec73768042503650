//! docs/openapi.json against a running host: schemathesis asks what the document allows, and what it does not, and every
//! answer must be one that the document names: no server error, no other status, content type, header or body.
//!
//! The number of questions and their seed are fixed. Ids are made up, or those of a job, a redrive and a file that are
//! there.

use std::process::Stdio;

use lucius_tests::host::Setup;
use lucius_tests::orders::order;
use lucius_tests::places;
use serde_json::json;
use tokio::process::Command;

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance";

#[tokio::test]
async fn whatever_the_document_allows_is_answered_as_it_says() -> anyhow::Result<()> {
    let host = Setup::quick().start().await;
    let client = host.client();
    let job = client.submit(&order("acme", "OCR")).await;
    let redrive = client.post("/v1/redrives", &json!({ "filter": {} })).await;
    let redrive = redrive.expect(202).body["id"].clone();
    let settings = format!(
        "[dictionaries]\n\
         jobs = {{ values = [\"{job}\"] }}\n\
         redrives = {{ values = [{redrive}] }}\n\
         files = {{ values = [\"console.js\", \"console.css\", \"icon.svg\"] }}\n\
         [parameters]\n\
         \"path.jobId\" = {{ dictionary = \"jobs\", probability = 0.7 }}\n\
         \"path.redriveId\" = {{ dictionary = \"redrives\", probability = 0.7 }}\n\
         \"path.file\" = {{ dictionary = \"files\", probability = 0.7 }}\n"
    );
    // It looks for its settings in the folder that it runs in, and leaves its notes there.
    std::fs::write(host.folder().join("schemathesis.toml"), settings)?;
    let asked = Command::new(places::schemathesis())
        .arg("run")
        .arg(places::workspace().join("docs/openapi.json"))
        .args(["--url", host.url()])
        .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", "10", "--seed", "1"])
        .args(["--generation-database", "none", "--warnings", "off"])
        .args(["--no-color", "--request-timeout", "60"])
        .current_dir(host.folder())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&asked.stdout);
    let complaints = String::from_utf8_lossy(&asked.stderr);
    assert!(asked.status.success(), "{said}\n{complaints}");
    let document = client.get("/openapi.json").await.body;
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations: usize = paths
        .filter_map(|(_, path)| Some(path.as_object()?.len()))
        .sum();
    let all = format!("Tested: {operations}\n");
    assert!(operations > 30 && said.contains(&all), "{said}");
    // Whatever it was asked, the host is well.
    client.get("/readyz").await.expect(200);
    Ok(())
}
