use super::*;

fn buckets() -> Buckets {
    let environment = [
        ("AZURE_STORAGE_ACCOUNT_NAME", "acme"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "eu-central-1"),
        (
            "GOOGLE_SERVICE_ACCOUNT_KEY",
            r#"{"private_key":"","private_key_id":"","client_email":"","disable_oauth":true}"#,
        ),
        ("PATH", "/bin"),
    ];
    let settings = Settings {
        read: ["az://in/scans", "s3://bucket", "gs://papers/2026/"]
            .map(str::to_owned)
            .into(),
        write: vec!["az://out".to_owned()],
        environment: environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    };
    assert!(!format!("{settings:?}").contains("c2VjcmV0"));
    Buckets::open(&settings).unwrap()
}

#[test]
fn what_is_below_an_allowed_place_is_found_in_every_store() {
    let buckets = buckets();
    for (uri, path) in [
        ("az://in/scans/a.pdf", "scans/a.pdf"),
        ("az://in/scans/a%20b.pdf", "scans/a b.pdf"),
        ("s3://bucket/deep/down/a.pdf", "deep/down/a.pdf"),
        ("gs://papers/2026/a.pdf", "2026/a.pdf"),
        ("az://out/made.txt", "made.txt"),
    ] {
        let place = buckets.readable(uri).unwrap();
        assert_eq!(
            place.path.to_string(),
            Path::parse(path).unwrap().to_string(),
            "{uri}"
        );
    }
    let output = buckets.writable("az://out/acme").unwrap();
    let (path, uri) = output.below("ocr.txt");
    assert_eq!(
        (path.as_ref(), &*uri),
        ("acme/ocr.txt", "az://out/acme/ocr.txt")
    );
}

#[test]
fn what_is_elsewhere_is_refused_however_it_is_written() {
    let buckets = buckets();
    for uri in [
        "az://in/other/a.pdf",
        "az://in/scans2/a.pdf",
        "az://in/scans/../other/a.pdf",
        "az://in/scans/%2e%2e/other/a.pdf",
        "az://in/scans/..%2Fother/a.pdf",
        "az://IN/scans/a.pdf",
        "az://another/scans/a.pdf",
        "s3://bucket2/a.pdf",
        "gs://papers/2025/a.pdf",
        "abfss://in@acme.dfs.core.windows.net/scans/a.pdf",
        "https://acme.blob.core.windows.net/in/scans/a.pdf",
        "https://example.org/a.pdf",
    ] {
        let refused = buckets.readable(uri).unwrap_err();
        assert!(
            matches!(
                &*refused.code,
                "REF_NOT_ALLOWED" | "REF_INVALID" | "REF_SCHEME_UNSUPPORTED"
            ),
            "{uri}: {refused:?}"
        );
    }
    assert_eq!(
        buckets.writable("az://in/scans").unwrap_err().code,
        "REF_NOT_ALLOWED"
    );
}

#[test]
fn a_signed_ref_is_refused_and_not_repeated() {
    let refused = buckets()
        .readable("az://in/scans/a.pdf?sig=verysecret")
        .unwrap_err();
    assert_eq!(refused.code, "REF_INVALID");
    assert!(!refused.message.contains("verysecret"));
}

#[test]
fn a_place_that_cannot_be_used_is_named_at_the_start() {
    for (url, part) in [
        ("in/scans", "az://"),
        ("file:///data", "az://"),
        ("az://in?sig=x", "az://"),
        ("az://in", "AZURE_STORAGE_ACCOUNT_NAME"),
    ] {
        let settings = Settings {
            read: vec![url.to_owned()],
            ..Settings::default()
        };
        let error = Buckets::open(&settings).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(url), "{error}");
    }
}
