//! The contracts as published, against their own examples.
//!
//! Client and worker developers read the schemas and copy the examples; the host is compiled with the very same
//! files. So each schema must be a schema, explain every field, say what its valid examples say, and refuse each
//! invalid example for the one reason in its name. What the prose shows as a message must be one, too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use jsonschema::Validator;
use serde_json::Value;

/// All schemas, below docs/. A file that is not listed here, or listed and gone, fails a test.
const SCHEMAS: [&str; 9] = [
    "contracts/ack.v1.schema.json",
    "contracts/command-envelope.v1.schema.json",
    "contracts/directive.v1.schema.json",
    "contracts/heartbeat.v1.schema.json",
    "contracts/result.v1.schema.json",
    "protocols/protocol-registry.v1.schema.json",
    "schemas/steps/embedding.v1.json",
    "schemas/steps/ocr.v1.json",
    "schemas/steps/sis.v1.json",
];

/// Fewer examples than this do not show what a contract is.
const MIN_EXAMPLES: usize = 3;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

fn schema(name: &str) -> Result<Value> {
    read_json(&docs().join(name))
}

/// The validator that the host uses too: formats count.
fn validator(schema: &Value) -> Result<Validator> {
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(schema)
        .map_err(|error| anyhow::anyhow!("{error}"))
}

/// The short name of a schema file: `ack.v1` for `contracts/ack.v1.schema.json`.
fn stem(name: &str) -> &str {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.trim_end_matches(".json").trim_end_matches(".schema")
}

fn json_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The examples of one kind (`valid` or `invalid`) of a schema.
fn examples(name: &str, kind: &str) -> Result<Vec<PathBuf>> {
    let schema = docs().join(name);
    let beside = schema.parent().context("a schema lies in a folder")?;
    json_files(&beside.join("examples").join(stem(name)).join(kind))
}

/// What is wrong with an instance, one line a violation.
fn violations(validator: &Validator, instance: &Value) -> Vec<String> {
    let line =
        |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    validator.iter_errors(instance).map(line).collect()
}

/// Calls `visit` with every JSON object in the document and the JSON Pointer to it.
fn visit_objects(value: &Value, pointer: &str, visit: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(members) => {
            visit(pointer, value);
            for (key, member) in members {
                visit_objects(member, &format!("{pointer}/{key}"), visit);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                visit_objects(item, &format!("{pointer}/{index}"), visit);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_schema_file_is_listed_and_no_other() -> Result<()> {
    let root = docs();
    let mut found = BTreeSet::new();
    for folder in ["contracts", "protocols", "schemas/steps"] {
        for path in json_files(&root.join(folder))? {
            found.insert(
                path.strip_prefix(&root)?
                    .to_string_lossy()
                    .replace('\\', "/"),
            );
        }
    }
    assert!(
        found.remove("protocols/protocol-registry.v1.example.json"),
        "the example registry is gone"
    );
    assert_eq!(found, SCHEMAS.map(str::to_owned).into_iter().collect());
    Ok(())
}

#[test]
fn every_schema_fits_the_meta_schema_and_compiles() -> Result<()> {
    for name in SCHEMAS {
        let schema = schema(name)?;
        let meta = schema.get("$schema").and_then(Value::as_str);
        assert_eq!(
            meta,
            Some("https://json-schema.org/draft/2020-12/schema"),
            "{name}"
        );
        if let Err(error) = jsonschema::draft202012::meta::validate(&schema) {
            panic!("{name} is no schema: {error}");
        }
        validator(&schema).with_context(|| name.to_owned())?;
    }
    Ok(())
}

#[test]
fn every_schema_has_its_own_address_and_refers_to_nothing_outside_itself() -> Result<()> {
    for name in SCHEMAS {
        let schema = schema(name)?;
        let expected = format!("https://lucius.dev/{name}");
        assert_eq!(
            schema.get("$id").and_then(Value::as_str),
            Some(expected.as_str())
        );
        visit_objects(&schema, "", &mut |pointer, object| {
            if let Some(target) = object.get("$ref").and_then(Value::as_str) {
                let local = target
                    .strip_prefix('#')
                    .unwrap_or_else(|| panic!("{name}{pointer}: {target} is remote"));
                assert!(
                    schema.pointer(local).is_some(),
                    "{name}{pointer}: {target} leads nowhere"
                );
            }
        });
    }
    Ok(())
}

#[test]
fn every_property_is_described() -> Result<()> {
    for name in SCHEMAS {
        visit_objects(&schema(name)?, "", &mut |pointer, object| {
            let Some(properties) = object.get("properties").and_then(Value::as_object) else {
                return;
            };
            // Below `if` a property only says when the rest holds.
            if pointer.ends_with("/if") || pointer.ends_with("/properties") {
                return;
            }
            for (key, property) in properties {
                let described = property
                    .get("description")
                    .and_then(Value::as_str)
                    .is_some_and(|d| d.len() > 8);
                assert!(
                    described,
                    "{name}{pointer}/properties/{key} has no description"
                );
            }
        });
    }
    Ok(())
}

#[test]
fn messages_and_step_payloads_stay_open_for_fields_of_a_later_version() -> Result<()> {
    for name in SCHEMAS
        .into_iter()
        .filter(|name| !name.starts_with("protocols/"))
    {
        visit_objects(&schema(name)?, "", &mut |pointer, object| {
            assert_ne!(
                object.get("additionalProperties"),
                Some(&Value::Bool(false)),
                "{name}{pointer}"
            );
        });
        assert_eq!(
            schema(name)?.get("additionalProperties"),
            Some(&Value::Bool(true)),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn every_valid_example_passes() -> Result<()> {
    for name in SCHEMAS {
        let validator = validator(&schema(name)?)?;
        let files = examples(name, "valid")?;
        assert!(
            files.len() >= MIN_EXAMPLES,
            "{name} has {} valid examples",
            files.len()
        );
        for file in files {
            let found = violations(&validator, &read_json(&file)?);
            assert!(found.is_empty(), "{}: {found:?}", file.display());
        }
    }
    Ok(())
}

#[test]
fn every_invalid_example_fails_for_its_one_reason() -> Result<()> {
    for name in SCHEMAS {
        let validator = validator(&schema(name)?)?;
        let files = examples(name, "invalid")?;
        assert!(
            files.len() >= MIN_EXAMPLES,
            "{name} has {} invalid examples",
            files.len()
        );
        for file in files {
            let found = violations(&validator, &read_json(&file)?);
            assert_eq!(found.len(), 1, "{}: {found:?}", file.display());
        }
    }
    Ok(())
}

#[test]
fn shared_definitions_say_the_same_in_every_contract() -> Result<()> {
    let mut seen = std::collections::BTreeMap::<String, (&str, Value)>::new();
    for name in SCHEMAS
        .into_iter()
        .filter(|name| name.starts_with("contracts/"))
    {
        let schema = schema(name)?;
        let definitions = schema
            .get("$defs")
            .and_then(Value::as_object)
            .context("no $defs")?;
        for (key, definition) in definitions {
            match seen.get(key) {
                None => drop(seen.insert(key.clone(), (name, definition.clone()))),
                Some((first, same)) => {
                    assert_eq!(definition, same, "{key} of {name} differs from {first}")
                }
            }
        }
    }
    assert!(seen.contains_key("ref"));
    Ok(())
}

#[test]
fn the_example_registry_is_valid_and_every_plugin_it_names_is_there() -> Result<()> {
    let registry = read_json(&docs().join("protocols/protocol-registry.v1.example.json"))?;
    let validator = validator(&schema("protocols/protocol-registry.v1.schema.json")?)?;
    let found = violations(&validator, &registry);
    assert!(found.is_empty(), "{found:?}");

    let text = |value: &Value, key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let list = |value: &Value, key: &str| {
        value
            .get(key)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let plugins: BTreeSet<String> = list(&registry, "plugins")
        .iter()
        .map(|p| format!("{}@{}", text(p, "id"), text(p, "version")))
        .collect();
    let mut request_types = BTreeSet::new();
    let mut steps_without_plugin = 0;
    for protocol in list(&registry, "protocols") {
        for request_type in list(&protocol, "request_types") {
            assert!(
                request_types.insert(request_type.to_string()),
                "{request_type} is claimed twice"
            );
        }
        for step in list(&protocol, "steps") {
            if step.get("plugin").is_none() {
                steps_without_plugin += 1;
                continue;
            }
            assert!(plugins.contains(&text(&step, "plugin")), "no plugin {step}");
            let built_in = docs()
                .join("schemas")
                .join(format!("{}.json", text(&step, "payload_schema_ref")));
            assert!(built_in.is_file(), "no schema {}", built_in.display());
        }
    }
    for shipped in [
        "OCR",
        "EMBEDDING",
        "SIS",
        "OCR->EMBEDDING",
        "EMBEDDING->SIS",
        "OCR->EMBEDDING->SIS",
    ] {
        assert!(
            request_types.contains(&format!("\"{shipped}\"")),
            "{shipped} is missing"
        );
    }
    assert_eq!(
        steps_without_plugin, 1,
        "one step shows how to do without a plugin"
    );
    Ok(())
}

/// In the prose, `<!-- ack.v1 -->` on the line before a JSON block says what the block is.
#[test]
fn every_message_in_the_prose_fits_its_contract() -> Result<()> {
    let mut checked = BTreeSet::new();
    for page in ["contracts/README.md", "bus.md"] {
        let text = fs::read_to_string(docs().join(page)).with_context(|| page.to_owned())?;
        for part in text.split("<!-- ").skip(1) {
            let Some((name, rest)) = part.split_once(" -->\n```json\n") else {
                continue;
            };
            let body = rest.split("```").next().unwrap_or_default();
            let message: Value =
                serde_json::from_str(body).with_context(|| format!("{page}: {name}"))?;
            let path = SCHEMAS.into_iter().find(|path| stem(path) == name);
            let path = path.with_context(|| format!("{page}: there is no contract {name}"))?;
            let found = violations(&validator(&schema(path)?)?, &message);
            assert!(found.is_empty(), "{page}: {name}: {found:?}");
            checked.insert(name.to_owned());
        }
    }
    let contracts = SCHEMAS
        .into_iter()
        .filter(|path| path.starts_with("contracts/"));
    assert_eq!(
        checked,
        contracts.map(|path| stem(path).to_owned()).collect(),
        "each message is shown"
    );
    Ok(())
}

/// A field that a reader cannot find in the field tables is as good as not there.
#[test]
fn the_field_tables_name_every_field_of_every_contract() -> Result<()> {
    let text = fs::read_to_string(docs().join("contracts/README.md"))?;
    for path in SCHEMAS
        .into_iter()
        .filter(|path| path.starts_with("contracts/"))
    {
        let heading = format!("\n### {}\n", stem(path));
        let section = text
            .split_once(&heading)
            .with_context(|| format!("no section {heading}"))?
            .1;
        let section = section.split("\n#").next().unwrap_or_default();
        let schema = schema(path)?;
        let fields = schema
            .get("properties")
            .and_then(Value::as_object)
            .context("no properties")?;
        for field in fields.keys() {
            assert!(
                section.contains(&format!("`{field}`")),
                "{path}: `{field}` is not in the table"
            );
        }
    }
    Ok(())
}
