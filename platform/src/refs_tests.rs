use std::os::unix::fs::symlink;

use super::*;
use crate::contract::FailureClass;

struct Place {
    _dir: tempfile::TempDir,
    root: PathBuf,
    reader: Reader,
}

/// `in/` may be read, `ws/` written; `ws/acme/` is the tenant's own; `private/` is nobody's.
fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for folder in ["in", "ws/acme", "ws/other", "private"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    let settings = Settings {
        read_roots: vec![root.join("in")],
        write_roots: vec![root.join("ws")],
        max_bytes: 100,
        temp_dir: root.join("tmp"),
        buckets: Default::default(),
    };
    let scope = Scope {
        workspace_root: root.join("ws"),
        tenant_dir: root.join("ws/acme"),
    };
    let reader = Reader {
        roots: Arc::new(Roots::open(&settings).unwrap()),
        scope,
    };
    Place {
        _dir: dir,
        root,
        reader,
    }
}

impl Place {
    fn file(&self, name: &str, content: &str) -> Ref {
        let path = self.root.join(name);
        std::fs::write(&path, content).unwrap();
        self.uri(name)
    }

    fn uri(&self, name: &str) -> Ref {
        Ref::bare(Url::from_file_path(self.root.join(name)).unwrap())
    }

    async fn refused(&self, reference: Ref, code: &str) {
        let failure = self.reader.fetch(&reference).await.unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert_eq!(failure.class, FailureClass::NonRetryable);
    }
}

#[tokio::test]
async fn a_file_below_a_root_is_copied_whatever_its_name() {
    let place = place();
    for name in [
        "in/plain.txt",
        "in/with space & 100%25 #1?.txt",
        "in/größe.txt",
        "ws/acme/a%2Fb",
    ] {
        let copy = place
            .reader
            .fetch(&place.file(name, "content"))
            .await
            .unwrap();
        assert_eq!(copy.text().await.unwrap(), "content", "{name}");
        assert_eq!(copy.size_bytes, 7);
        let path = copy.path().to_owned();
        drop(copy);
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn nothing_outside_the_roots_is_opened_by_any_spelling() {
    let place = place();
    place.file("private/key", "secret");
    place
        .refused(place.uri("private/key"), "REF_NOT_ALLOWED")
        .await;
    place
        .refused(place.uri("private/missing"), "REF_NOT_ALLOWED")
        .await;
    let base = format!("file://{}", place.root.display());
    for escape in [
        "in/../private/key",
        "in/%2e%2e/private/key",
        "in/..%2fprivate/key",
    ] {
        let reference = Ref::bare(format!("{base}/{escape}"));
        let failure = place.reader.fetch(&reference).await.unwrap_err();
        assert_ne!(failure.code, "INPUT_UNREADABLE", "{escape}: {failure}");
    }
    symlink(place.root.join("private/key"), place.root.join("in/link")).unwrap();
    place.refused(place.uri("in/link"), "REF_NOT_ALLOWED").await;
    symlink(place.root.join("private"), place.root.join("in/folder")).unwrap();
    place
        .refused(place.uri("in/folder/key"), "REF_NOT_ALLOWED")
        .await;
}

#[tokio::test]
async fn a_tenant_reads_its_own_part_of_the_workspace_only() {
    let place = place();
    let own = place.file("ws/acme/text.txt", "mine");
    let foreign = place.file("ws/other/text.txt", "theirs");
    assert_eq!(
        place
            .reader
            .fetch(&own)
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "mine"
    );
    place.refused(foreign, "REF_NOT_ALLOWED").await;
}

#[tokio::test]
async fn each_ref_that_cannot_be_opened_says_why() {
    let place = place();
    place
        .refused(place.uri("in/missing"), "INPUT_NOT_FOUND")
        .await;
    std::fs::create_dir(place.root.join("in/sub")).unwrap();
    place.refused(place.uri("in/sub"), "INPUT_NOT_A_FILE").await;
    place
        .refused(place.file("in/large", &"x".repeat(101)), "INPUT_TOO_LARGE")
        .await;
    place
        .refused(Ref::bare("s3://bucket/key"), "REF_SCHEME_UNSUPPORTED")
        .await;
    place
        .refused(Ref::bare("/in/plain.txt"), "REF_INVALID")
        .await;
    place
        .refused(Ref::bare("file://elsewhere/in/x"), "REF_INVALID")
        .await;
}

#[tokio::test]
async fn a_file_that_is_not_what_its_ref_declares_is_refused() {
    let place = place();
    let mut reference = place.file("in/a", "content");
    reference.checksum = Some(checksum_of(Sha256::new_with_prefix("content")));
    reference.size_bytes = Some(7);
    assert!(place.reader.fetch(&reference).await.is_ok());
    place
        .refused(
            Ref {
                size_bytes: Some(8),
                ..reference.clone()
            },
            "INPUT_MISMATCH",
        )
        .await;
    std::fs::write(place.root.join("in/a"), "CONTENT").unwrap();
    place.refused(reference, "INPUT_MISMATCH").await;
}

#[tokio::test]
async fn what_is_not_text_is_not_given_as_text() {
    let place = place();
    std::fs::write(place.root.join("in/binary"), b"ab\xff").unwrap();
    let copy = place.reader.fetch(&place.uri("in/binary")).await.unwrap();
    assert_eq!(copy.text().await.unwrap_err().code, "INPUT_NOT_TEXT");
}

#[tokio::test]
async fn folders_are_made_below_write_roots_only() {
    let place = place();
    let roots = &place.reader.roots;
    let scope = Some(&place.reader.scope);
    let at = |name: &str| place.uri(name).uri;
    let made = roots
        .writable_dir(&at("ws/acme/new/deep"), scope)
        .await
        .unwrap();
    assert!(made.is_dir() && made.ends_with("ws/acme/new/deep"));
    symlink(place.root.join("private"), place.root.join("ws/acme/link")).unwrap();
    for outside in ["in/new", "private/new", "ws/other/new", "ws/acme/link/new"] {
        let failure = roots.writable_dir(&at(outside), scope).await.unwrap_err();
        assert_eq!(failure.code, "REF_NOT_ALLOWED", "{outside}");
        assert!(!place.root.join(outside).exists());
    }
}

#[test]
fn a_root_that_is_not_there_is_named() {
    let settings = Settings {
        read_roots: vec!["/no/such/folder".into()],
        write_roots: vec![],
        max_bytes: 1,
        temp_dir: std::env::temp_dir(),
        buckets: Default::default(),
    };
    let message = Roots::open(&settings).unwrap_err().to_string();
    assert!(
        message.contains("/no/such/folder") && message.contains("create it"),
        "{message}"
    );
}

#[test]
fn what_a_killed_worker_left_behind_goes_when_it_is_old() {
    let place = place();
    let temp = place.root.join("tmp");
    let aged = |name: &str, days: u64| {
        let file = std::fs::File::create(temp.join(name)).unwrap();
        let at = file.metadata().unwrap().modified().unwrap();
        file.set_modified(at - Duration::from_secs(days * 86_400))
            .unwrap();
    };
    aged("input-old", 3);
    aged("input-new", 0);
    aged("somebody-elses", 3);
    remove_leftovers(&temp);
    let mut left: Vec<_> = std::fs::read_dir(&temp)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["input-new", "somebody-elses"]);
}
