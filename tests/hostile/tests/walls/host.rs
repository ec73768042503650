//! The same attacks as an operator meets them: in the registry of a running host.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use lucius_tests::client::Client;
use lucius_tests::host::{Host, Setup};
use lucius_tests::orders::{order, with};
use lucius_tests::registry::Copied;
use serde_json::{Value, json};

use crate::guests::{self, Guest, RESULT};

/// A running host whose registry is ours to break.
pub(crate) struct Attacked {
    host: Host,
    client: Client,
    registry: Copied,
    /// What is live.
    pub(crate) good: Value,
    generation: u64,
}

impl Attacked {
    pub(crate) async fn start() -> Self {
        let registry = Copied::new().expect("a copy of the registry");
        let host = Setup::quick().registry(registry.path()).start().await;
        let (client, good) = (host.client(), registry.manifest.clone());
        Self {
            host,
            client,
            registry,
            good,
            generation: 1,
        }
    }

    /// Writes what is live, changed.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Value)) {
        self.registry.manifest = self.good.clone();
        change(&mut self.registry.manifest);
        self.registry.write().expect("the registry");
    }

    /// Reloads what is written, which is good.
    pub(crate) async fn goes_live(&mut self, generation: u64) {
        let answer = self.client.post_nothing("/v1/registry:reload").await;
        assert_eq!(answer.expect(200).body["generation"], generation);
        (self.good, self.generation) = (self.registry.manifest.clone(), generation);
    }

    /// Reloads; the one reason why that is refused. The host serves as before.
    pub(crate) async fn refusal(&mut self) -> String {
        let answer = self.client.post_nothing("/v1/registry:reload").await;
        let refused = answer.expect_problem(422, "REGISTRY_REFUSED");
        let errors = refused.body["errors"].as_array().expect("errors");
        let reason = |error: &Value| error["reason"].as_str().unwrap_or_default().to_owned();
        let first = errors.first().map(reason).unwrap_or_default();
        assert!(!first.contains('\n'), "{first}");
        let status = self.client.get("/v1/registry").await.expect(200).body;
        assert_eq!(
            status["generation"], self.generation,
            "the old generation stays"
        );
        assert_eq!(status["last_reload"]["ok"], false);
        self.serves().await;
        first
    }

    /// Accepts a command, which asks the plugin.
    async fn serves(&self) {
        self.client.submit(&order("acme", "OCR")).await;
    }

    /// The registry as it was.
    pub(crate) fn restore(&mut self) {
        self.change(|_| {});
    }

    async fn refused(&mut self, component: &[u8], says: &str) {
        self.registry
            .replace("ocr", component)
            .expect("the registry");
        let reason = self.refusal().await;
        assert!(reason.contains(says), "{says}: {reason}");
        self.restore();
    }
}

fn text(component: &str) -> Vec<u8> {
    wat::parse_str(component).expect("the text is WebAssembly")
}

#[tokio::test]
async fn w2_to_w15_a_hostile_component_is_refused_by_name_while_the_host_serves() {
    let mut attacked = Attacked::start().await;
    let start = Guest {
        more: "(func $start (loop $again (br $again))) (start $start)".to_owned(),
        ..Guest::default()
    };
    // With little fuel, so that on a busy machine the deadline is not there first.
    attacked.registry.plugin("ocr")["limits"]["fuel"] = json!(1_000_000);
    attacked
        .refused(&start.component(), "used up its fuel")
        .await;
    let huge = Guest {
        memory: "4096".to_owned(),
        ..Guest::default()
    };
    attacked
        .refused(&huge.component(), "268435456 bytes of memory")
        .await;
    let instances = "(core instance (instantiate $m))".repeat(101);
    let many = text(&format!("(component (core module $m) {instances})"));
    attacked.refused(&many, "100 core instances").await;
    let wasi = r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#;
    attacked
        .refused(&text(wasi), "wasi:cli/environment@0.2.0")
        .await;
    let wit = guests::contract("package lucius:step@1.0.0", "package lucius:step@2.0.0");
    let two = Guest::default().text().replace("@1.0.0", "@2.0.0");
    attacked
        .refused(&guests::component(&two, &wit), "this host serves 1.0.0")
        .await;
    attacked
        .refused(&text("(component)"), "does not export")
        .await;
    attacked.refused(&text("(module)"), "core module").await;
    attacked
        .refused(b"\x7fELF\x02\x01\x01", "compiled code")
        .await;
    attacked.refused(b"(component)", "WebAssembly text").await;
    let simd = Guest {
        more: "(func (drop (i32x4.extract_lane 0 (v128.const i64x2 0 0))))".to_owned(),
        ..Guest::default()
    };
    attacked.refused(&simd.component(), "SIMD").await;
    let crashing = Guest {
        describe: format!("(unreachable) (i32.const {RESULT})"),
        ..Guest::default()
    };
    attacked.refused(&crashing.component(), "unreachable").await;
}

#[tokio::test]
async fn w1_a_plugin_that_never_answers_costs_its_own_commands_and_no_others() {
    let mut attacked = Attacked::start().await;
    let endless = Guest {
        validate: "(loop $again (br $again)) (unreachable)".to_owned(),
        ..Guest::default()
    };
    attacked
        .registry
        .replace("ocr", &endless.component())
        .expect("the registry");
    let client = &attacked.client;
    client.post_nothing("/v1/registry:reload").await.expect(200);
    let refused = client.post("/v1/commands", &order("acme", "OCR")).await;
    let refused = refused.expect_problem(503, "PLUGIN_FAULT");
    let detail = refused.body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("ocr@1.0.0"), "{detail}");
    client.submit(&order("acme", "EMBEDDING")).await;
}

#[tokio::test]
async fn w31_a_route_to_a_service_that_is_not_granted_is_refused() {
    let mut attacked = Attacked::start().await;
    let stealing = Guest {
        more: r#"(data (i32.const 2048) "platform-sis")"#.to_owned(),
        route: format!(
            "(call $pair (i32.const {}) (i32.const 2048) (i32.const 12))
             (call $pair (i32.const {}) (i32.const 64) (i32.const 16)) (i32.const {RESULT})",
            RESULT + 4,
            RESULT + 12
        ),
        ..Guest::default()
    };
    attacked
        .registry
        .replace("ocr", &stealing.component())
        .expect("the registry");
    let client = &attacked.client;
    client.post_nothing("/v1/registry:reload").await.expect(200);
    let ours = with(
        order("acme", "OCR"),
        json!({ "payload": { "page_range": "1-3" } }),
    );
    let refused = client.post("/v1/commands", &ours).await;
    refused.expect_problem(503, "PLUGIN_FAULT");
    // The client learns nothing of the plugin's insides; the operator reads it in the log.
    let says = "plugin ocr@1.0.0 routed to service \"platform-sis\", which is not granted";
    let log = attacked.host.output();
    assert!(log.contains(says), "{log}");
    client.submit(&order("acme", "EMBEDDING")).await;
}

#[tokio::test]
async fn w25_w26_a_component_that_was_exchanged_is_refused_and_the_old_one_serves() {
    let mut attacked = Attacked::start().await;
    let component = attacked.registry.component("ocr");
    fs::write(&component, &*Guest::default().component()).expect("exchanged");
    attacked.serves().await;
    // The manifest says another digest than what lies there now.
    attacked.registry.manifest["tenants"] = json!({ "acme": { "inflight": 50 } });
    attacked.registry.write().expect("the registry");
    let reason = attacked.refusal().await;
    assert!(
        reason.starts_with("the component's SHA-256 is "),
        "{reason}"
    );
    // A restart takes what was kept when the generation went live, not what lies there now.
    attacked.host.crash().await;
    attacked.serves().await;
}

#[tokio::test]
async fn w27_a_component_is_a_regular_file_below_the_registry_and_nothing_else() {
    let mut attacked = Attacked::start().await;
    let folder = attacked.registry.path().to_owned();
    symlink("/etc/passwd", folder.join("components/link")).expect("a link");
    let fifo = folder.join("components/fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    for path in [
        "../registry.json",
        "/etc/passwd",
        "components/../../x",
        "components/link",
        "components/fifo",
        "components",
        "components/a\0b",
        "/dev/zero",
        "con\\aux",
        "components/absent.wasm",
        "",
    ] {
        attacked.registry.plugin("ocr")["component"] = json!(path);
        attacked.registry.write().expect("the registry");
        let reason = attacked.refusal().await;
        assert!(!reason.contains("root:"), "{path:?}: {reason}");
        attacked.restore();
    }
}

#[tokio::test]
async fn w28_a_registry_that_is_half_written_changes_nothing() {
    let mut attacked = Attacked::start().await;
    let whole = attacked.good.to_string();
    let file = attacked.registry.path().join("registry.json");
    for cut in (0..whole.len()).step_by(whole.len() / 12) {
        fs::write(&file, &whole[..cut]).expect("half a registry");
        let reason = attacked.refusal().await;
        assert!(reason.contains("is not JSON"), "cut at {cut}: {reason}");
    }
    // The new manifest with the old component.
    attacked
        .registry
        .replace("ocr", &Guest::default().component())
        .expect("the registry");
    let component = attacked.registry.component("ocr");
    let whole = fs::read(&component).expect("the component");
    fs::write(&component, &whole[..whole.len() / 2]).expect("half a component");
    let reason = attacked.refusal().await;
    assert!(reason.contains("SHA-256"), "{reason}");
    fs::write(&component, &whole).expect("the rest");
    let client = &attacked.client;
    let live = client.post_nothing("/v1/registry:reload").await.expect(200);
    assert_eq!(live.body["generation"], 2);
}
