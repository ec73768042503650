//! Documents that cannot be read, through the real platform: the job fails once and says what is wrong.

use std::fs;
use std::path::Path;

use lucius_tests::host::Setup;
use lucius_tests::orders::{order, with};
use lucius_tests::places;
use serde_json::json;

fn uri(path: &Path) -> String {
    format!("file://{}", path.display())
}

#[tokio::test]
async fn a_bad_document_fails_its_job_with_a_code_that_says_why() -> anyhow::Result<()> {
    let host = Setup::dev().start().await;
    let client = host.client();
    let here = host.folder();
    fs::copy(
        places::document("encrypted.pdf"),
        here.join("encrypted.pdf"),
    )?;
    fs::copy(places::document("no-pages.pdf"), here.join("no-pages.pdf"))?;
    fs::write(here.join("empty.pdf"), "")?;
    fs::write(here.join("torn.pdf"), "%PDF-1.7\n1 0 obj\n<< /Type /Cat")?;
    fs::write(here.join("text.png"), "This is no picture.")?;
    // Wherever this checkout lies, below the temporary folder perhaps, this is below none of the worker's roots.
    let outside = Path::new("/etc/passwd");
    let cases = [
        (uri(&here.join("encrypted.pdf")), "PDF_ENCRYPTED"),
        (uri(&here.join("no-pages.pdf")), "PDF_NO_PAGES"),
        (uri(&here.join("empty.pdf")), "INPUT_EMPTY"),
        (uri(&here.join("torn.pdf")), "PDF_UNREADABLE"),
        (uri(&here.join("text.png")), "INPUT_NOT_A_DOCUMENT"),
        (uri(&here.join("missing.pdf")), "INPUT_NOT_FOUND"),
        (uri(here), "INPUT_NOT_A_FILE"),
        (uri(outside), "REF_NOT_ALLOWED"),
        ("s3://bucket/key".to_owned(), "REF_SCHEME_UNSUPPORTED"),
    ];
    let mut jobs = Vec::new();
    for (input, code) in &cases {
        let refs = json!({ "input_ref": input, "output_ref": uri(&here.join("out")) });
        let job = client
            .submit(&with(order("documents", "OCR->EMBEDDING"), refs))
            .await;
        jobs.push((job, input, *code));
    }
    for (job, input, code) in jobs {
        let ended = client.job_over(&job).await;
        assert_eq!(
            (&ended["state"], &ended["error_code"]),
            (&json!("FAILED_FINAL"), &json!(code)),
            "{input}: {ended}"
        );
        assert_eq!(ended["attempts_total"], 1, "{input} is not tried again");
        assert!(
            ended["error_message"]
                .as_str()
                .is_some_and(|text| text.len() > 10),
            "{ended}"
        );
        assert_eq!(client.step(&job, "embedding").await["state"], "PENDING");
    }
    Ok(())
}
