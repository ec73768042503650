//! What a semantic step was asked, checked and completed.

use serde::Deserialize;

use super::settings::{PromptSet, Settings};
use crate::service::Failure;

/// The step's payload as it comes; fields that are not known here are left alone.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Payload {
    /// The prompt set's name; `default` when absent.
    pub prompt_set: Option<String>,
    /// The question; those of the prompt set when absent.
    pub prompt: Option<String>,
    /// How freely a generating model words its answer, 0 to 2.
    pub temperature: Option<f64>,
    /// Tokens in a generated answer at most, from 1.
    pub max_tokens: Option<u32>,
    /// What the answer is delivered as; JSON when absent.
    pub response_format: Option<ResponseFormat>,
}

/// What the answer is delivered as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ResponseFormat {
    /// Text, beside the JSON document with the sources.
    Text,
    /// The JSON document; a generated answer is JSON itself.
    Json,
}

/// What will be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The prompt set's name.
    pub prompt_set: String,
    /// What it says.
    pub set: PromptSet,
    /// The questions, at least one.
    pub questions: Vec<String>,
    /// Passages that are less like the question answer nothing.
    pub min_score: f32,
    /// How freely a generating model words its answer; its own default when absent.
    pub temperature: Option<f64>,
    /// Tokens in a generated answer at most; the model's own limit when absent.
    pub max_tokens: Option<u32>,
    /// What the answer is delivered as.
    pub format: ResponseFormat,
}

impl Request {
    /// Completes `payload` from `settings`.
    ///
    /// Fails for good with `PROMPT_SET_UNKNOWN`, `PROMPT_MISSING` or `PAYLOAD_INVALID`.
    pub fn new(payload: Payload, settings: &Settings) -> Result<Self, Failure> {
        let invalid = |message: &str| Err(Failure::fatal("PAYLOAD_INVALID", message));
        if payload
            .temperature
            .is_some_and(|t| !(0.0..=2.0).contains(&t))
        {
            return invalid("temperature is outside 0 to 2; use a number between");
        }
        if payload.max_tokens == Some(0) {
            return invalid("max_tokens is 0; use 1 or more");
        }
        let prompt_set = payload.prompt_set.unwrap_or_else(|| "default".to_owned());
        let set = settings.prompt_set(&prompt_set)?;
        let prompt = payload.prompt.map(|prompt| prompt.trim().to_owned());
        let questions = match prompt.filter(|prompt| !prompt.is_empty()) {
            Some(prompt) => vec![prompt],
            None => set.questions.clone(),
        };
        if questions.is_empty() {
            let message = format!(
                "the step has no prompt and the prompt set {prompt_set:?} no questions; set prompt"
            );
            return Err(Failure::fatal("PROMPT_MISSING", message));
        }
        Ok(Self {
            min_score: set.min_score.unwrap_or(settings.min_score),
            prompt_set,
            set,
            questions,
            temperature: payload.temperature,
            max_tokens: payload.max_tokens,
            format: payload.response_format.unwrap_or(ResponseFormat::Json),
        })
    }

    /// All questions, one a line.
    pub fn prompt(&self) -> String {
        self.questions.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request(payload: Value) -> Result<Request, Failure> {
        Request::new(Payload::deserialize(payload).unwrap(), &Settings::default())
    }

    #[test]
    fn a_prompt_of_the_step_replaces_the_questions_of_the_set() {
        let own = request(json!({"prompt_set": "invoice", "prompt": " Who? "})).unwrap();
        assert_eq!(own.questions, ["Who?"]);
        let sets = request(json!({"prompt_set": "invoice", "response_format": "TEXT"})).unwrap();
        assert!(sets.questions.len() > 1);
        assert_eq!(sets.format, ResponseFormat::Text);
    }

    #[test]
    fn a_set_decides_its_own_cut_off() {
        let mut settings = Settings::default();
        let strict = PromptSet {
            min_score: Some(0.9),
            ..PromptSet::default()
        };
        settings.prompt_sets.insert("strict".into(), strict);
        let payload =
            |set: &str| Payload::deserialize(json!({"prompt_set": set, "prompt": "?"})).unwrap();
        assert_eq!(
            Request::new(payload("strict"), &settings)
                .unwrap()
                .min_score,
            0.9
        );
        assert_eq!(
            Request::new(payload("letter"), &settings)
                .unwrap()
                .min_score,
            0.3
        );
    }

    #[test]
    fn what_cannot_be_answered_is_refused_for_good() {
        let refused = [
            (json!({}), "PROMPT_MISSING"),
            (json!({"prompt": " \n"}), "PROMPT_MISSING"),
            (
                json!({"prompt": "?", "prompt_set": "poem"}),
                "PROMPT_SET_UNKNOWN",
            ),
            (
                json!({"prompt": "?", "temperature": 2.1}),
                "PAYLOAD_INVALID",
            ),
            (json!({"prompt": "?", "max_tokens": 0}), "PAYLOAD_INVALID"),
        ];
        for (payload, code) in refused {
            let failure = request(payload).unwrap_err();
            assert_eq!(failure.code, code);
            assert_eq!(failure.class, crate::contract::FailureClass::NonRetryable);
        }
        assert!(Payload::deserialize(json!({"response_format": "XML"})).is_err());
    }
}
