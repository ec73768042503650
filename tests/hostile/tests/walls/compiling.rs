//! The compiler as the target: bombs for it, and forged code for its cache.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lucius_ports::plugin::{AdmissionError, Limits, Runtime as _};
use lucius_tests::places;
use lucius_wasm::{Bounds, CacheSettings, Child, Compiler, Sandbox, Settings};
use tempfile::TempDir;

use crate::guests::Guest;
use crate::sandbox::served;

fn cache(folder: &Path) -> CacheSettings {
    CacheSettings {
        folder: folder.join("compiled"),
        key: [7; 32],
        max_bytes: 1 << 30,
    }
}

fn child(bounds: Bounds) -> Compiler {
    Compiler::Child(Child {
        program: places::program(),
        arguments: vec!["compile-component".into()],
        bounds,
    })
}

/// A compiler that cannot be started: whoever is admitted was not compiled.
fn none() -> Compiler {
    Compiler::Child(Child {
        program: "/nowhere/lucius".into(),
        arguments: Vec::new(),
        bounds: Bounds::default(),
    })
}

fn start(compiler: Compiler, cache: CacheSettings) -> Sandbox {
    let settings = Settings {
        compiler,
        cache: Some(cache),
        ..Settings::default()
    };
    Sandbox::start(settings).expect("the sandbox starts")
}

async fn admit(sandbox: &Sandbox) -> Result<(), AdmissionError> {
    let friendly = Guest::default().component();
    sandbox.admit(friendly, Limits::default()).await.map(|_| ())
}

fn entries(cache: &CacheSettings) -> Vec<PathBuf> {
    let files = fs::read_dir(&cache.folder).expect("the cache is there");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files
}

/// Every local meets every loop, so the compiler's work is the product of the two.
fn bomb() -> Arc<[u8]> {
    let loops = "(loop (br_if 0 (local.get 0)))".repeat(60_000);
    let sum: String = (1..8_000)
        .map(|local| format!("(local.set 0 (i32.add (local.get 0) (local.get {local})))"))
        .collect();
    let locals = "i32 ".repeat(8_000);
    let bomb = Guest {
        more: format!("(func (local {locals}) {loops} {sum})"),
        ..Guest::default()
    };
    bomb.component()
}

#[tokio::test]
async fn w17_a_compile_bomb_is_stopped_and_quarantined_until_there_is_more_room() {
    let folder = TempDir::new().unwrap();
    let bounds = Bounds {
        cpu_seconds: 1,
        ..Bounds::default()
    };
    let bomb = bomb();
    let sandbox = start(child(bounds), cache(folder.path()));
    let refused = sandbox.admit(Arc::clone(&bomb), Limits::default()).await;
    let line = "is quarantined: when it was compiled, it took more than 1 s of processor time: build it smaller, or \
                raise plugins.compile_memory_bytes or plugins.compile_cpu_seconds";
    assert_eq!(
        refused.map_err(|error| error.to_string()),
        Err(line.to_owned())
    );
    served(&sandbox).await;
    drop(sandbox);

    // Neither a restart nor less room compiles it again: this compiler could not even be started.
    let sandbox = start(none_within(bounds), cache(folder.path()));
    let again = sandbox.admit(Arc::clone(&bomb), Limits::default()).await;
    assert!(
        matches!(again, Err(AdmissionError::Quarantined(_))),
        "{again:?}"
    );
    drop(sandbox);

    let more = Bounds {
        cpu_seconds: 2,
        ..bounds
    };
    let sandbox = start(none_within(more), cache(folder.path()));
    let tried = sandbox.admit(bomb, Limits::default()).await;
    assert!(
        matches!(tried, Err(AdmissionError::Compile(_))),
        "{tried:?}"
    );
}

fn none_within(bounds: Bounds) -> Compiler {
    let Compiler::Child(child) = none() else {
        return none();
    };
    Compiler::Child(Child { bounds, ..child })
}

#[tokio::test]
async fn w17_a_compiler_that_wants_all_memory_is_stopped() {
    let folder = TempDir::new().unwrap();
    let bounds = Bounds {
        memory_bytes: 256 << 20,
        ..Bounds::default()
    };
    let sandbox = start(child(bounds), cache(folder.path()));
    let refused = sandbox.admit(bomb(), Limits::default()).await;
    let Err(AdmissionError::Quarantined(why)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(why, "it took more than 268435456 bytes of memory");
    served(&sandbox).await;
}

#[tokio::test]
async fn w17_a_compiler_that_does_not_start_is_no_verdict_on_the_component() {
    let folder = TempDir::new().unwrap();
    let refused = admit(&start(none(), cache(folder.path()))).await;
    let Err(AdmissionError::Compile(why)) = refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("does not start"), "{why}");
    assert_eq!(entries(&cache(folder.path())), [] as [PathBuf; 0]);
    let sandbox = start(child(Bounds::default()), cache(folder.path()));
    served(&sandbox).await;
}

#[tokio::test]
async fn a_child_says_of_a_component_what_the_host_would_say() {
    let folder = TempDir::new().unwrap();
    let sandbox = start(child(Bounds::default()), cache(folder.path()));
    let simd = Guest {
        more: "(func (drop (i32x4.extract_lane 0 (v128.const i64x2 0 0))))".to_owned(),
        ..Guest::default()
    };
    let by_child = sandbox.admit(simd.component(), Limits::default()).await;
    let here = Sandbox::start(Settings::default()).unwrap();
    let by_host = here.admit(simd.component(), Limits::default()).await;
    assert!(matches!(by_host, Err(AdmissionError::NotAComponent(_))));
    assert_eq!(by_child, by_host);
}

#[tokio::test]
async fn what_was_compiled_once_is_not_compiled_again() {
    let folder = TempDir::new().unwrap();
    served(&start(child(Bounds::default()), cache(folder.path()))).await;
    let mode = fs::metadata(&cache(folder.path()).folder)
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o700);
    served(&start(none(), cache(folder.path()))).await;
}

#[tokio::test]
async fn many_who_ask_for_one_component_have_it_compiled_once_and_all_get_it() {
    let folder = TempDir::new().unwrap();
    let sandbox = Arc::new(start(child(Bounds::default()), cache(folder.path())));
    let all: Vec<_> = (0..8)
        .map(|_| {
            let sandbox = Arc::clone(&sandbox);
            tokio::spawn(async move { served(&sandbox).await })
        })
        .collect();
    for one in all {
        one.await.expect("each is served");
    }
}

/// What somebody does to the cache of a host that has compiled one component, and another's cache to do it with.
async fn tampered(with: impl FnOnce(&Path, &Path)) {
    let folder = || TempDir::new().expect("a folder");
    let (folder, other) = (folder(), folder());
    served(&start(child(Bounds::default()), cache(folder.path()))).await;
    let foreign = CacheSettings {
        key: [8; 32],
        ..cache(other.path())
    };
    served(&start(child(Bounds::default()), foreign.clone())).await;
    let (own, others) = (&entries(&cache(folder.path()))[0], &entries(&foreign)[0]);
    with(own, others);
    let refused = admit(&start(none(), cache(folder.path()))).await;
    assert!(
        matches!(refused, Err(AdmissionError::Compile(_))),
        "the entry was used: {refused:?}"
    );
    served(&start(child(Bounds::default()), cache(folder.path()))).await;
    served(&start(none(), cache(folder.path()))).await;
}

#[tokio::test]
async fn w16_compiled_code_with_another_hosts_seal_is_compiled_again() {
    tampered(|own, others| {
        fs::copy(others, own).unwrap();
    })
    .await;
}

#[tokio::test]
async fn w16_an_entry_that_was_changed_or_cut_is_compiled_again() {
    tampered(|own, _| {
        let mut bytes = fs::read(own).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(own, bytes).unwrap();
    })
    .await;
    tampered(|own, _| {
        let bytes = fs::read(own).unwrap();
        fs::write(own, &bytes[..bytes.len() / 2]).unwrap();
    })
    .await;
    tampered(|own, _| fs::write(own, "").unwrap()).await;
}

#[tokio::test]
async fn w16_a_link_in_the_place_of_an_entry_is_not_followed() {
    tampered(|own, others| {
        let aside = others.with_extension("own");
        fs::rename(own, &aside).unwrap();
        symlink(&aside, own).unwrap();
    })
    .await;
}

#[tokio::test]
async fn w16_an_entry_under_the_name_of_another_component_is_compiled_again() {
    let folder = TempDir::new().unwrap();
    let sandbox = start(child(Bounds::default()), cache(folder.path()));
    served(&sandbox).await;
    let friendly = entries(&cache(folder.path()));
    let other = Guest {
        more: "(func)".to_owned(),
        ..Guest::default()
    };
    sandbox
        .admit(other.component(), Limits::default())
        .await
        .unwrap();
    let all = entries(&cache(folder.path()));
    let others = all.iter().find(|file| !friendly.contains(file)).unwrap();
    fs::copy(others, &friendly[0]).unwrap();
    let refused = admit(&start(none(), cache(folder.path()))).await;
    assert!(
        matches!(refused, Err(AdmissionError::Compile(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn w16_code_that_this_very_host_compiled_is_no_component() {
    let folder = TempDir::new().unwrap();
    let sandbox = start(child(Bounds::default()), cache(folder.path()));
    served(&sandbox).await;
    let entry = fs::read(&entries(&cache(folder.path()))[0]).unwrap();
    // After the seal and the kind.
    let code: Arc<[u8]> = entry[33..].into();
    assert!(code.starts_with(b"\x7fELF"));
    let refused = sandbox.admit(code, Limits::default()).await;
    let Err(AdmissionError::NotAComponent(why)) = refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("compiled code"), "{why}");
    served(&sandbox).await;
}

#[tokio::test]
async fn w16_a_cache_that_others_may_write_into_stops_the_start() {
    let folder = TempDir::new().unwrap();
    let cache = cache(folder.path());
    fs::create_dir(&cache.folder).unwrap();
    fs::set_permissions(&cache.folder, fs::Permissions::from_mode(0o777)).unwrap();
    let settings = Settings {
        cache: Some(cache),
        ..Settings::default()
    };
    let Err(refused) = Sandbox::start(settings) else {
        panic!("it starts")
    };
    assert!(refused.to_string().contains("mode 700"), "{refused}");
}

#[tokio::test]
async fn a_cache_that_is_full_lets_the_oldest_go() {
    let folder = TempDir::new().unwrap();
    let small = CacheSettings {
        max_bytes: 1,
        ..cache(folder.path())
    };
    let sandbox = start(child(Bounds::default()), small.clone());
    served(&sandbox).await;
    assert_eq!(entries(&small), [] as [PathBuf; 0]);
    served(&sandbox).await;
}
