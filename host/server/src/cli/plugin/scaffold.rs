//! `lucius plugin new`: a plugin that builds and passes its own tests before its author has written a line.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::embedded;
use super::folder::below;
use crate::cli::output;
use crate::cli::{Failure, usage};

/// The longest name; it becomes the plugin's id.
const NAME_CHARACTERS: usize = 40;

#[derive(Args)]
pub(in crate::cli) struct Flags {
    /// The plugin's id and the folder's name: lower-case letters, digits and dashes
    name: String,
    /// What to write it in
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    language: Language,
    /// The service that does the work [default: platform-NAME]
    #[arg(long)]
    service: Option<String>,
    /// Where to make the folder
    #[arg(long, default_value = ".")]
    parent: PathBuf,
}

/// What a plugin may be written in with a scaffold at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// With the SDK; components of some 100 KB
    Rust,
    /// With componentize-js; components of 12 MB
    Javascript,
    /// With componentize-py; components of 18 MB
    Python,
}

macro_rules! templates {
    ($($folder:literal / $name:literal => $place:literal),* $(,)?) => {
        &[$(($place, include_str!(concat!("template/", $folder, "/", $name)))),*]
    };
}

/// What every language has: where it is placed, and its text.
const COMMON: &[(&str, &str)] = templates![
    "common" / "schema.json" => "schema.json",
    "common" / "defaults.json" => "cases/defaults.json",
    "common" / "level-too-high.json" => "cases/level-too-high.json",
    "common" / "its-service.json" => "cases/its-service.json",
    "common" / "nothing-written.json" => "cases/nothing-written.json",
    "common" / "a-busy-worker.json" => "cases/a-busy-worker.json",
    "common" / "worker.py" => "worker.py",
];

impl Language {
    fn templates(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Rust => templates![
                "rust" / "Cargo.toml.txt" => "Cargo.toml",
                "rust" / "plugin.json" => "plugin.json",
                "rust" / "gitignore.txt" => ".gitignore",
                "rust" / "lib.rs.txt" => "src/lib.rs",
            ],
            Self::Javascript => templates![
                "javascript" / "package.json" => "package.json",
                "javascript" / "plugin.json" => "plugin.json",
                "javascript" / "gitignore.txt" => ".gitignore",
                "javascript" / "plugin.js" => "plugin.js",
            ],
            Self::Python => templates![
                "python" / "requirements.txt" => "requirements.txt",
                "python" / "plugin.json" => "plugin.json",
                "python" / "gitignore.txt" => ".gitignore",
                "python" / "plugin.py" => "plugin.py",
            ],
        }
    }

    /// What has to be there before the first build.
    fn first(self) -> &'static [&'static str] {
        match self {
            Self::Rust => &[],
            Self::Javascript => &["npm install"],
            Self::Python => &["pip install -r requirements.txt"],
        }
    }
}

pub(super) fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    let names = Names::new(&flags.name, flags.service).map_err(usage)?;
    let root = below(&flags.parent, &names.id);
    if root.exists() {
        let error = anyhow::anyhow!("{} is there already: choose another name", root.display());
        return Err(usage(error));
    }
    let mut files: Vec<(String, String)> = COMMON
        .iter()
        .chain(flags.language.templates())
        .map(|(place, text)| ((*place).to_owned(), names.filled(text)))
        .collect();
    let (place, text) = embedded::CONTRACT;
    files.push((format!("lucius/{place}"), text.to_owned()));
    if flags.language == Language::Rust {
        let sdk = embedded::sdk()?.into_iter();
        files.extend(sdk.map(|(place, text)| (format!("lucius/{place}"), text)));
        files.push(("Cargo.lock".to_owned(), embedded::LOCK.to_owned()));
    }
    for (place, text) in &files {
        write(&root.join(place), text)?;
    }
    let go = format!("cd {}", root.display());
    let mut next = vec![go.as_str()];
    next.extend(flags.language.first());
    next.extend(["lucius plugin build", "lucius plugin test"]);
    if json {
        output::json(&json!({ "folder": root, "files": files.len(), "next": next }));
    } else {
        output::line(format!("{}  {} files; next:", root.display(), files.len()));
        for command in next {
            output::line(format!("  {command}"));
        }
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(file, text))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// The names that stand in the templates.
struct Names {
    id: String,
    step_type: String,
    service: String,
}

impl Names {
    fn new(id: &str, service: Option<String>) -> anyhow::Result<Self> {
        let letter = id.starts_with(|first: char| first.is_ascii_lowercase());
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !letter || id.len() > NAME_CHARACTERS || !id.chars().all(plain) {
            bail!(
                "{id:?} is no name for a plugin: begin with a letter, then at most {} of a-z, 0-9 and -",
                NAME_CHARACTERS - 1
            );
        }
        let service = service.unwrap_or_else(|| format!("platform-{id}"));
        let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let more = |c: char| plain(c) || c == '.' || c == '_';
        if !service.starts_with(first) || service.len() > 64 || !service.chars().all(more) {
            bail!("{service:?} is no name for a service: at most 64 of a-z, 0-9, dot, dash and _");
        }
        Ok(Self {
            id: id.to_owned(),
            step_type: id.to_uppercase(),
            service,
        })
    }

    fn filled(&self, template: &str) -> String {
        template
            .replace("{{id}}", &self.id)
            .replace("{{step_type}}", &self.step_type)
            .replace("{{service}}", &self.service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_registry_takes_is_refused() {
        for wrong in [
            "",
            "Redact",
            "1st",
            "-a",
            "a b",
            "a/b",
            "..",
            "ä",
            &"a".repeat(41),
        ] {
            assert!(Names::new(wrong, None).is_err(), "{wrong:?}");
        }
        for wrong in ["", "UP", ".x", "a b", &"s".repeat(65)] {
            assert!(
                Names::new("ok", Some(wrong.to_owned())).is_err(),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn no_template_keeps_a_place_to_fill() {
        let names = Names::new("two-words", None).expect("a name");
        for language in Language::value_variants() {
            for (place, text) in COMMON.iter().chain(language.templates()) {
                let filled = names.filled(text);
                assert!(!filled.contains("{{"), "{place}: {filled}");
            }
        }
    }
}
