//! The recipes in docs/deploy name what the program has: flags, settings, ports, routes. No container is built here.

use std::collections::BTreeSet;
use std::fs;

use lucius_tests::places;
use lucius_tests::program::Run;
use serde::Deserialize as _;
use serde_json::Value;

fn recipe(name: &str) -> String {
    let path = places::workspace().join("docs/deploy").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All documents of a file of manifests.
fn manifests(name: &str) -> Vec<Value> {
    let text = recipe(&format!("kubernetes/{name}"));
    let parsed = serde_yaml_ng::Deserializer::from_str(&text).map(Value::deserialize);
    let parsed = parsed.collect::<Result<Vec<_>, _>>();
    parsed.unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn of_kind<'a>(manifests: &'a [Value], kind: &str) -> &'a Value {
    let found = manifests.iter().find(|it| it["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn container(manifests: &[Value]) -> &Value {
    &of_kind(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]
}

/// The settings that the program has, as variables.
fn settings() -> BTreeSet<String> {
    let document = fs::read_to_string(places::workspace().join("docs/settings.md"));
    let document = document.expect("docs/settings.md, which a test of the server keeps complete");
    let block = document
        .split("```toml")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let mut section = String::new();
    let mut found = BTreeSet::new();
    for line in block.unwrap_or_default().lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}_", name.trim_end_matches(']'));
        } else if let Some((key, _)) = line.split_once(" = ") {
            found.insert(format!("LUCIUS_{section}{key}").to_uppercase());
        }
    }
    assert!(found.contains("LUCIUS_BUS_BACKEND"), "{found:?}");
    found
}

#[test]
fn every_setting_that_a_recipe_names_is_one() {
    let known = settings();
    for name in ["host.yaml", "worker.yaml"] {
        for variable in list(&container(&manifests(name))["env"]) {
            let variable = variable["name"].as_str().unwrap_or_default();
            assert!(known.contains(variable), "{name}: {variable}");
        }
    }
    let containerfile = recipe("Containerfile");
    let words = containerfile.split(|char: char| !char.is_ascii_uppercase() && char != '_');
    for variable in words.filter(|word| word.starts_with("LUCIUS_")) {
        assert!(known.contains(variable), "Containerfile: {variable}");
    }
}

#[tokio::test]
async fn every_command_that_a_recipe_runs_is_one() -> anyhow::Result<()> {
    let folder = tempfile::TempDir::new()?;
    for name in ["host.yaml", "worker.yaml"] {
        let manifests = manifests(name);
        let args = list(&container(&manifests)["args"]).filter_map(Value::as_str);
        // Clap reads the flags before it says what they are.
        let args: Vec<&str> = args.chain(["--help"]).collect();
        let help = Run::new(folder.path(), &args)
            .ended()
            .await
            .expect(0)
            .stdout;
        for flag in args.iter().filter(|it| it.starts_with("--")) {
            assert!(help.contains(flag), "{name}: {flag}");
        }
    }
    Ok(())
}

#[test]
fn probes_ask_ports_and_routes_that_there_are() {
    for (name, port) in [("host.yaml", 7_420), ("worker.yaml", 7_421)] {
        let manifests = manifests(name);
        let container = container(&manifests);
        let opened = &container["ports"][0];
        assert_eq!(opened["containerPort"], port, "{name}");
        for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
            let asked = &container[probe]["httpGet"];
            assert_eq!(asked["path"], path, "{name} {probe}");
            assert_eq!(asked["port"], opened["name"], "{name} {probe}");
        }
        assert!(recipe("Containerfile").contains(&port.to_string()));
    }
    let listens = manifests("host.yaml");
    let listens = list(&container(&listens)["env"]).find(|it| it["name"] == "LUCIUS_LISTEN");
    assert_eq!(
        listens.map(|it| &it["value"]),
        Some(&Value::from("0.0.0.0:7420"))
    );
}

#[test]
fn nothing_runs_as_root_or_writes_outside_of_its_volumes() {
    for name in ["host.yaml", "worker.yaml"] {
        let manifests = manifests(name);
        let pod = &of_kind(&manifests, "Deployment")["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        // A drain takes 20 s, and lanes are given back after it.
        assert!(
            pod["terminationGracePeriodSeconds"].as_u64() > Some(30),
            "{name}"
        );
        let security = &container(&manifests)["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
        let volumes: BTreeSet<_> = list(&pod["volumes"])
            .map(|it| it["name"].as_str())
            .collect();
        let mounts = list(&container(&manifests)["volumeMounts"]);
        let mounts: BTreeSet<_> = mounts.map(|it| it["name"].as_str()).collect();
        assert_eq!(volumes, mounts, "{name}");
    }
    assert_eq!(
        recipe("Containerfile").matches("USER 65532:65532").count(),
        2
    );
}

#[test]
fn every_lane_scales_the_workers_of_its_subscription() {
    let manifests = manifests("worker.yaml");
    let scaled = &of_kind(&manifests, "ScaledObject")["spec"];
    let deployment = of_kind(&manifests, "Deployment");
    assert_eq!(
        scaled["scaleTargetRef"]["name"],
        deployment["metadata"]["name"]
    );
    let topics: Vec<String> = list(&scaled["triggers"])
        .map(|it| {
            assert_eq!(it["metadata"]["subscriptionName"], "platform-ocr");
            it["metadata"]["topicName"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    let lanes: Vec<String> = (0..16).map(|lane| format!("global-bus-p{lane}")).collect();
    assert_eq!(topics, lanes);
}
