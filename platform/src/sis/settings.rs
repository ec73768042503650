//! Prompt sets and limits: what an operator decides about answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::endpoint;
use crate::contract::Secret;
use crate::service::Failure;

/// How this service answers.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The embedding model, a folder of the models' folder. Vectors of another are refused.
    pub model: String,
    /// Sets that are added to those shipped, or replace one of the same name.
    pub prompt_sets: BTreeMap<String, PromptSet>,
    /// Passages that are less like the question (cosine, -1 to 1) answer nothing.
    pub min_score: f32,
    /// Passages quoted for one question at most.
    pub max_passages: usize,
    /// How many chunks, the ones most like the question, are searched for passages.
    pub shortlist_chunks: usize,
    /// A text with more chunks is refused when it comes without vectors.
    pub max_chunks: usize,
    /// A model that words answers. Without it, answers are quotes.
    pub endpoint: Option<endpoint::Settings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: "all-MiniLM-L6-v2".to_owned(),
            prompt_sets: BTreeMap::new(),
            min_score: 0.3,
            max_passages: 3,
            shortlist_chunks: 16,
            max_chunks: 2_000,
            endpoint: None,
        }
    }
}

/// What is asked of documents of one kind, and how.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptSet {
    /// What a generating model is told beside the question. Without one it has no effect.
    pub instructions: String,
    /// What is asked when a step names no prompt of its own.
    pub questions: Vec<String>,
    /// Replaces [`Settings::min_score`] for this set.
    pub min_score: Option<f32>,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The variable that should hold the endpoint's key is not set.
    #[error("[sis] endpoint.api_key_env names {0}, which is not set; set it or remove the setting")]
    KeyMissing(String),
    /// The endpoint's address is no address.
    #[error("[sis] endpoint.base_url is {0:?}; write http(s)://host[:port]/v1 without a query")]
    BaseUrl(String),
    /// The key holds characters that no HTTP header may.
    #[error("the [sis] endpoint's API key holds a line break or another unusable character")]
    Key,
    /// The HTTP client cannot be made.
    #[error("[sis] endpoint: {0}")]
    Client(#[from] reqwest::Error),
}

impl Settings {
    /// The endpoint's key, from the environment variable that the settings name.
    pub fn api_key(&self) -> Result<Option<Secret<String>>, SettingsError> {
        let Some(name) = self
            .endpoint
            .as_ref()
            .and_then(|e| e.api_key_env.as_deref())
        else {
            return Ok(None);
        };
        match std::env::var(name) {
            Ok(key) if !key.trim().is_empty() => Ok(Some(Secret::new(key.trim().to_owned()))),
            Ok(_) | Err(_) => Err(SettingsError::KeyMissing(name.to_owned())),
        }
    }

    /// The set `name`; an unknown one is `PROMPT_SET_UNKNOWN` for good, with the known ones.
    pub fn prompt_set(&self, name: &str) -> Result<PromptSet, Failure> {
        let mut sets = shipped();
        sets.extend(self.prompt_sets.clone());
        if let Some(set) = sets.remove(name) {
            return Ok(set);
        }
        let known: Vec<String> = sets.into_keys().collect();
        let message = format!(
            "no prompt set {name:?}; this worker has {}",
            known.join(", ")
        );
        Err(Failure::fatal("PROMPT_SET_UNKNOWN", message))
    }
}

fn shipped() -> BTreeMap<String, PromptSet> {
    let set = |instructions: &str, questions: &[&str]| PromptSet {
        instructions: instructions.to_owned(),
        questions: questions
            .iter()
            .map(|question| (*question).to_owned())
            .collect(),
        min_score: None,
    };
    BTreeMap::from([
        (
            "default".to_owned(),
            set("You answer questions about a document, briefly.", &[]),
        ),
        (
            "invoice".to_owned(),
            set(
                "You read invoices. Give amounts with their currency, and dates, exactly as they \
                 are written.",
                &[
                    "What is the total amount due?",
                    "What is the due date?",
                    "What is the invoice number?",
                    "What is the invoice date?",
                ],
            ),
        ),
        (
            "letter".to_owned(),
            set(
                "You read business letters. Name people and dates exactly as they are written.",
                &[
                    "Who is the letter addressed to?",
                    "What is the reader asked to do?",
                ],
            ),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::FailureClass;

    #[test]
    fn an_unknown_prompt_set_is_refused_with_the_known_ones() {
        let mut settings = Settings::default();
        settings
            .prompt_sets
            .insert("lease".into(), PromptSet::default());
        let failure = settings.prompt_set("poem").unwrap_err();
        assert_eq!(
            (&*failure.code, failure.class),
            ("PROMPT_SET_UNKNOWN", FailureClass::NonRetryable)
        );
        assert!(
            failure.message.ends_with("default, invoice, lease, letter"),
            "{failure}"
        );
    }

    #[test]
    fn a_configured_set_replaces_a_shipped_one() {
        let mut settings = Settings::default();
        assert!(!settings.prompt_set("invoice").unwrap().questions.is_empty());
        let mine = PromptSet {
            instructions: "mine".into(),
            ..PromptSet::default()
        };
        settings.prompt_sets.insert("invoice".into(), mine.clone());
        assert_eq!(settings.prompt_set("invoice").unwrap(), mine);
        assert!(settings.prompt_set("letter").is_ok());
    }

    #[test]
    fn a_key_that_is_not_set_is_named() {
        let json = r#"{"endpoint": {"base_url": "http://h/v1", "model": "m",
                       "api_key_env": "LUCIUS_TEST_KEY_THAT_NOBODY_SETS"}}"#;
        let settings: Settings = serde_json::from_str(json).unwrap();
        let error = settings.api_key().unwrap_err().to_string();
        assert!(
            error.contains("LUCIUS_TEST_KEY_THAT_NOBODY_SETS"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        assert!(serde_json::from_str::<Settings>(r#"{"min_scroe": 0.2}"#).is_err());
    }
}
