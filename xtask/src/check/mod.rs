//! The structure check: rules that the compiler does not know and a reader relies on.
//!
//! Each rule takes text or a parsed manifest and returns findings, so that it can be tried on a few lines. Only this
//! file reads the disk. A finding names the file, what is wrong and the remedy, on one line.

mod code;
mod imports;
mod links;
mod manifests;
mod sources;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Folders that hold no source of ours.
const SKIPPED: [&str; 6] = [
    "target",
    ".git",
    "node_modules",
    "__pycache__",
    "lucius-data",
    "components",
];
const CODE: [&str; 5] = ["rs", "py", "js", "mjs", "sh"];

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    Warning,
    Error,
}

/// One rule that is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    weight: Weight,
    file: String,
    what: String,
    remedy: String,
}

impl Finding {
    fn error(file: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (what, remedy) = (what.into(), remedy.into());
        Self {
            weight: Weight::Error,
            file: file.to_owned(),
            what,
            remedy,
        }
    }

    fn warning(file: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            weight: Weight::Warning,
            ..Self::error(file, what, remedy)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.weight {
            Weight::Warning => "warning: ",
            Weight::Error => "",
        };
        write!(f, "{weight}{}: {}; {}", self.file, self.what, self.remedy)
    }
}

/// Checks the workspace; prints one line for each finding.
pub(crate) fn run() -> Result<()> {
    let root = shell::root();
    let mut findings = check_manifests(&root)?;
    let mut files = 0;
    for path in tracked(&root)? {
        findings.extend(check_file(&root, &path)?);
        files += 1;
    }
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.weight == Weight::Error)
        .count();
    if errors > 0 {
        bail!(
            "the structure check found {errors} error(s) in {files} files; each line above names its remedy"
        );
    }
    println!("structure: {files} files keep the rules");
    Ok(())
}

fn check_manifests(root: &Path) -> Result<Vec<Finding>> {
    let output = shell::quiet(&mut shell::cargo(&[
        "metadata",
        "--no-deps",
        "--format-version=1",
    ]))
    .context("cargo metadata failed; run it by hand to see why")?;
    let metadata: manifests::Metadata =
        serde_json::from_slice(&output.stdout).context("cargo metadata gave unexpected JSON")?;
    let workspace =
        fs::read_to_string(root.join("Cargo.toml")).context("cannot read Cargo.toml")?;
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let file = relative(root, Path::new(&package.manifest_path));
        let text = fs::read_to_string(&package.manifest_path)
            .with_context(|| format!("cannot read {file}"))?;
        findings.extend(manifests::check(&file, package, &text, &workspace));
        findings.extend(imports::check(&file, package));
    }
    Ok(findings)
}

fn check_file(root: &Path, path: &Path) -> Result<Vec<Finding>> {
    let file = relative(root, path);
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or("");
    let read = || fs::read_to_string(path).with_context(|| format!("cannot read {file} as text"));
    let mut findings = Vec::new();
    if CODE.contains(&extension) {
        findings.extend(sources::length(&file, &read()?));
    }
    if extension == "rs" {
        findings.extend(sources::unfinished(&file, &read()?));
    }
    if extension == "md" {
        let folder = path.parent().unwrap_or(root);
        let exists = |target: &str| match target.strip_prefix('/') {
            Some(from_root) => root.join(from_root).exists(),
            None => folder.join(target).exists(),
        };
        findings.extend(links::check(&file, &read()?, exists, |path| {
            root.join(path).exists()
        }));
    }
    Ok(findings)
}

/// Every file of the project, in a fixed order.
fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && !SKIPPED.iter().any(|name| entry.file_name() == *name) {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}
