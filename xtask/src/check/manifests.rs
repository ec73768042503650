//! What every crate's manifest must say: what the crate is for, under which licence, and that it takes our lints.

use serde::Deserialize;

use super::Finding;

const LICENCE: &str = "Apache-2.0";

/// What `cargo metadata --no-deps` says of the workspace.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) packages: Vec<Package>,
}

/// One crate of the workspace.
#[derive(Debug, Deserialize)]
pub(super) struct Package {
    pub(super) manifest_path: String,
    pub(super) description: Option<String>,
    pub(super) license: Option<String>,
    pub(super) dependencies: Vec<Dependency>,
}

/// One direct dependency.
#[derive(Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// `None` for an ordinary one, else `dev` or `build`.
    pub(super) kind: Option<String>,
    /// Where it lies, when it is a crate of the workspace.
    pub(super) path: Option<String>,
}

/// Checks one manifest; `text` is the file as written.
pub(super) fn check(file: &str, package: &Package, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if package
        .description
        .as_deref()
        .is_none_or(|description| description.trim().is_empty())
    {
        findings.push(Finding::error(
            file,
            "has no description",
            "say in one line of `description` what the crate is for",
        ));
    }
    if package.license.as_deref() != Some(LICENCE) {
        findings.push(Finding::error(
            file,
            format!("is not under {LICENCE}"),
            "write `license.workspace = true`",
        ));
    }
    if !takes_workspace_lints(text) {
        findings.push(Finding::error(
            file,
            "does not take the workspace's lints",
            "write `lints.workspace = true`",
        ));
    }
    findings
}

fn takes_workspace_lints(text: &str) -> bool {
    text.parse::<toml::Table>().ok().is_some_and(|manifest| {
        let lints = manifest.get("lints").and_then(toml::Value::as_table);
        lints.and_then(|lints| lints.get("workspace")) == Some(&toml::Value::Boolean(true))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(description: &str, license: &str) -> Package {
        Package {
            manifest_path: "/w/x/Cargo.toml".to_owned(),
            description: Some(description.to_owned()),
            license: Some(license.to_owned()),
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn a_complete_manifest_has_no_findings_in_either_spelling_of_the_lints() {
        let package = package("Keeps time", "Apache-2.0");
        assert_eq!(check("x", &package, "[lints]\nworkspace = true\n"), []);
        assert_eq!(check("x", &package, "lints.workspace = true\n"), []);
    }

    #[test]
    fn each_thing_that_is_missing_is_named_with_its_remedy() {
        let findings = check("x", &package(" ", "MIT"), "[lints]\n# workspace = true\n");
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].contains("description"));
        assert!(lines[1].contains("Apache-2.0"));
        assert!(lines[2].contains("lints.workspace = true"));
    }
}
