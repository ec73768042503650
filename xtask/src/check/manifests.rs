//! What every crate's manifest must say: what the crate is for, under which licence, and that it takes our lints.
//!
//! Cargo lets a crate take the workspace's lints only as a whole. One that has to soften a single lint therefore
//! writes them all out, and that is checked too: none may be left out, and none be allowed.

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

/// Checks one manifest; `text` is the file as written, `workspace` the manifest at the root.
pub(super) fn check(file: &str, package: &Package, text: &str, workspace: &str) -> Vec<Finding> {
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
    if !keeps_workspace_lints(
        &lints(text, &["lints"]),
        &lints(workspace, &["workspace", "lints"]),
    ) {
        findings.push(Finding::error(
            file,
            "does not take the workspace's lints",
            "write `lints.workspace = true`, or each of them with none left out or allowed",
        ));
    }
    findings
}

/// The table of lints below `keys`; empty when there is none.
fn lints(manifest: &str, keys: &[&str]) -> toml::Table {
    let mut table: toml::Table = manifest.parse().unwrap_or_default();
    for key in keys {
        table = match table.remove(*key) {
            Some(toml::Value::Table(inner)) => inner,
            Some(_) | None => toml::Table::new(),
        };
    }
    table
}

fn keeps_workspace_lints(own: &toml::Table, workspace: &toml::Table) -> bool {
    if own.get("workspace") == Some(&toml::Value::Boolean(true)) {
        return true;
    }
    let kept = |group: &str, lint: &str| {
        let own = own.get(group).and_then(|group| group.get(lint));
        own.and_then(level).is_some_and(|level| level != "allow")
    };
    let mut every = workspace.iter().flat_map(|(group, lints)| {
        lints
            .as_table()
            .into_iter()
            .flatten()
            .map(move |(lint, _)| (group, lint))
    });
    !workspace.is_empty() && every.all(|(group, lint)| kept(group, lint))
}

fn level(lint: &toml::Value) -> Option<&str> {
    lint.as_str().or_else(|| lint.get("level")?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n\
        [workspace.lints.clippy]\nall = { level = \"warn\", priority = -1 }\n";

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
        assert_eq!(
            check("x", &package, "[lints]\nworkspace = true\n", ROOT),
            []
        );
        assert_eq!(check("x", &package, "lints.workspace = true\n", ROOT), []);
    }

    #[test]
    fn each_thing_that_is_missing_is_named_with_its_remedy() {
        let findings = check(
            "x",
            &package(" ", "MIT"),
            "[lints]\n# workspace = true\n",
            ROOT,
        );
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].contains("description"));
        assert!(lines[1].contains("Apache-2.0"));
        assert!(lines[2].contains("lints.workspace = true"));
    }

    #[test]
    fn lints_written_out_must_be_all_there_and_none_allowed() {
        let package = package("Keeps time", "Apache-2.0");
        let softened = |rust: &str, clippy: &str| {
            let text = format!("[lints.rust]\n{rust}\n[lints.clippy]\n{clippy}\n");
            check("x", &package, &text, ROOT).len()
        };
        assert_eq!(softened("unsafe_code = \"deny\"", "all = \"warn\""), 0);
        assert_eq!(softened("unsafe_code = \"allow\"", "all = \"warn\""), 1);
        assert_eq!(softened("unsafe_code = \"deny\"", ""), 1);
    }
}
