//! How settings are read: one over the other, and no unknown key.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::Config;

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the settings in {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file or a variable says something that is not a setting.
    #[error("{place}: {reason}")]
    Refused {
        /// Which file or variable.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

impl Config {
    /// Defaults, then the file, then the variables.
    ///
    /// # Errors
    /// What is wrong, in one line.
    pub fn load(
        file: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let mut settings = match file {
            None => Table::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
                    path: path.to_owned(),
                    source,
                })?;
                let refused = |error: toml::de::Error| Error::Refused {
                    place: path.display().to_string(),
                    reason: one_line(&error),
                };
                // Read into the type first, so that a mistake is reported with its place in the file.
                toml::from_str::<Self>(&text).map_err(refused)?;
                text.parse().map_err(refused)?
            }
        };
        let mut named = Vec::new();
        let known = known_keys();
        for (name, text) in variables {
            if let Some(path) = key_of(&name, &known) {
                set(&mut settings, &path, &text);
                named.push(name);
            }
        }
        settings.try_into().map_err(|error| Error::Refused {
            place: if named.is_empty() {
                "settings".to_owned()
            } else {
                named.join(", ")
            },
            reason: one_line(&error),
        })
    }
}

/// Keys that are not among the defaults, since they have none of their own.
const WITHOUT_DEFAULT: [(&str, &str); 3] = [
    ("sis", "endpoint"),
    ("limits", "global_inflight"),
    ("limits", "burst_inflight"),
];

/// Every key there is.
fn known_keys() -> Table {
    let mut known = Table::try_from(Config::default()).unwrap_or_default();
    for (section, key) in WITHOUT_DEFAULT {
        if let Some(Value::Table(section)) = known.get_mut(section) {
            section.insert(key.to_owned(), Value::String(String::new()));
        }
    }
    known
}

/// The key that a variable stands for: a top-level one, or one of a section.
fn key_of(variable: &str, known: &Table) -> Option<Vec<String>> {
    let name = variable.strip_prefix("LUCIUS_")?.to_ascii_lowercase();
    if known.get(&name).is_some_and(|value| !value.is_table()) {
        return Some(vec![name]);
    }
    known.iter().find_map(|(section, value)| {
        let key = name.strip_prefix(section.as_str())?.strip_prefix('_')?;
        value
            .as_table()?
            .contains_key(key)
            .then(|| vec![section.clone(), key.to_owned()])
    })
}

/// Sets a key to a TOML value, or to the text when it is none.
fn set(settings: &mut Table, path: &[String], text: &str) {
    let value = format!("value = {text}").parse::<Table>().ok();
    let value = value.and_then(|mut table| table.remove("value"));
    let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
    let mut table = settings;
    if let [section, _] = path {
        let entry = table
            .entry(section.clone())
            .or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = entry else { return };
        table = inner;
    }
    if let Some(key) = path.last() {
        table.insert(key.clone(), value);
    }
}

fn one_line(error: &toml::de::Error) -> String {
    error
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, Error> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lucius.toml");
        std::fs::write(&path, text).expect("a file");
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(&path), variables)
    }

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let config = load("[timing]\nack_timeout_ms = 50\n", &[]).expect("good settings");
        assert_eq!(config.timing.ack_timeout_ms, 50);
        assert_eq!(config.timing.lease_ms, 900_000);
        assert_eq!(config.limits.tenant_inflight, 100);
    }

    #[test]
    fn a_variable_wins_over_the_file() {
        let variables = [
            ("LUCIUS_TIMING_ACK_TIMEOUT_MS", "70"),
            ("LUCIUS_TIMING_RETRY_BACKOFF_MS", "[5, 6]"),
            ("LUCIUS_LISTEN", "127.0.0.1:9000"),
            ("LUCIUS_DATA_DIR", "/tmp/x"),
            ("LUCIUS_SOMETHING_ELSE", "ignored"),
        ];
        let config = load("[timing]\nack_timeout_ms = 50\n", &variables).expect("good settings");
        assert_eq!(config.timing.ack_timeout_ms, 70);
        assert_eq!(config.timing.retry_backoff_ms, [5, 6]);
        assert_eq!(config.listen.port(), 9000);
        assert_eq!(config.data_dir, PathBuf::from("/tmp/x"));
    }

    #[test]
    fn a_variable_can_set_a_key_that_has_no_default() {
        let endpoint = r#"{ base_url = "http://127.0.0.1:8000/v1", model = "m" }"#;
        let config = load("", &[("LUCIUS_SIS_ENDPOINT", endpoint)]).expect("good settings");
        let endpoint = config.sis.endpoint.expect("an endpoint");
        assert_eq!(endpoint.base_url, "http://127.0.0.1:8000/v1");
    }

    #[test]
    fn an_unknown_key_is_refused_in_one_line_that_names_it() {
        let refused = load("[timing]\nack_timeout = 50\n", &[]).expect_err("an unknown key");
        let line = refused.to_string();
        assert!(
            line.contains("ack_timeout") && line.contains("lucius.toml"),
            "{line}"
        );
        assert!(!line.contains('\n'), "{line}");
        assert!(load("colour = 1", &[]).is_err());
        assert!(load("[ledger]\nbackend = \"oracle\"", &[]).is_err());
        assert!(load("", &[("LUCIUS_TIMING_LEASE_MS", "soon")]).is_err());
    }

    #[test]
    fn the_settings_page_shows_the_defaults() {
        let page = std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/settings.md"
        ))
        .expect("docs/settings.md");
        let defaults = toml::to_string(&Config::default()).expect("the defaults are TOML");
        let block = page
            .split("```toml\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next());
        assert_eq!(
            block,
            Some(defaults.as_str()),
            "docs/settings.md is to hold:\n{defaults}"
        );
    }
}
