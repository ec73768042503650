//! Renders registry.json from its template: the template says all that people decide, the build adds the digests.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A component that stands in the registry's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Its path under the registry's folder.
    pub(crate) path: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub(crate) sha256: String,
    /// Its size.
    pub(crate) bytes: usize,
}

/// Fills `component` and `sha256` of every plugin in the template; `placed` is keyed by plugin id.
///
/// # Errors
/// When the template is not a registry, names a plugin that was not built, or leaves out one that was.
pub(crate) fn render(template: &str, placed: &BTreeMap<String, Placed>) -> Result<String> {
    let mut document: Value =
        serde_json::from_str(template).context("registry.template.json is not JSON")?;
    let plugins = document
        .get_mut("plugins")
        .and_then(Value::as_array_mut)
        .context("registry.template.json has no list `plugins`")?;
    let mut filled = Vec::new();
    for plugin in plugins {
        let plugin = plugin
            .as_object_mut()
            .context("a plugin in the template is no object")?;
        let id = plugin
            .get("id")
            .and_then(Value::as_str)
            .context("a plugin in the template has no `id`")?
            .to_owned();
        let Some(built) = placed.get(&id) else {
            bail!(
                "the template names plugin {id}, which is not built; add it to the build or remove it"
            );
        };
        plugin.insert("component".to_owned(), built.path.clone().into());
        plugin.insert("sha256".to_owned(), built.sha256.clone().into());
        filled.push(id);
    }
    if let Some(missing) = placed.keys().find(|id| !filled.contains(id)) {
        bail!("plugin {missing} is built but not in registry.template.json; add it there");
    }
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(id: &str) -> BTreeMap<String, Placed> {
        let placed = Placed {
            path: "components/ab.wasm".to_owned(),
            sha256: "ab".to_owned(),
            bytes: 1,
        };
        BTreeMap::from([(id.to_owned(), placed)])
    }

    #[test]
    fn a_digest_and_a_path_are_filled_in_and_all_else_is_kept() {
        let template = r#"{"plugins": [{"id": "ocr", "config": {"engines": ["tesseract"]}}]}"#;
        let document: Value =
            serde_json::from_str(&render(template, &built("ocr")).unwrap()).unwrap();
        let plugin = &document["plugins"][0];
        assert_eq!(plugin["component"], "components/ab.wasm");
        assert_eq!(plugin["sha256"], "ab");
        assert_eq!(plugin["config"]["engines"][0], "tesseract");
    }

    #[test]
    fn a_plugin_that_was_not_built_is_named() {
        let error = render(r#"{"plugins": [{"id": "sis"}]}"#, &built("ocr")).unwrap_err();
        assert!(error.to_string().contains("sis"), "{error}");
    }

    #[test]
    fn a_built_plugin_that_the_template_leaves_out_is_named() {
        let error = render(r#"{"plugins": []}"#, &built("ocr")).unwrap_err();
        assert!(error.to_string().contains("ocr"), "{error}");
    }
}
