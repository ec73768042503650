//! What an embedding step was asked for, checked and completed.

use serde::Deserialize;

use super::Settings;
use super::chunk::{Lengths, Strategy};
use super::models::folder_name;
use crate::service::Failure;

/// The step's payload as it comes; fields that are not known here are left alone.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Payload {
    /// The model's name; the settings' when absent.
    pub model: Option<String>,
    /// How to cut the text.
    pub chunking: Option<ChunkingPayload>,
    /// Whether to scale vectors to length 1; true when absent.
    pub normalize: Option<bool>,
}

/// How to cut the text, as asked.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ChunkingPayload {
    /// `sentence` or `fixed`; the former when absent.
    pub strategy: Option<String>,
    /// Word pieces of a chunk at most, from 1.
    pub max_tokens: Option<u32>,
    /// Word pieces of its predecessor that a chunk repeats at most; below `max_tokens`.
    pub overlap_tokens: Option<u32>,
}

/// What will be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The model's folder name.
    pub model: String,
    /// How to cut the text.
    pub strategy: Strategy,
    /// How long chunks may be, before the model's own limit.
    pub lengths: Lengths,
    /// Whether vectors are scaled to length 1.
    pub normalize: bool,
}

impl Plan {
    /// Completes `payload` from `settings`.
    ///
    /// Fails for good with `CHUNKING_STRATEGY_UNKNOWN`, `MODEL_UNKNOWN` or `PAYLOAD_INVALID`.
    pub fn new(payload: Payload, settings: &Settings) -> Result<Self, Failure> {
        let chunking = payload.chunking.unwrap_or_default();
        let strategy = match chunking.strategy.as_deref() {
            None => Strategy::default(),
            Some(name) => name
                .parse()
                .map_err(|error: super::chunk::UnknownStrategy| {
                    Failure::fatal("CHUNKING_STRATEGY_UNKNOWN", error.to_string())
                })?,
        };
        let max_tokens = count(chunking.max_tokens).unwrap_or(settings.max_tokens);
        if max_tokens == 0 {
            return Err(invalid("chunking.max_tokens is 0; use 1 or more"));
        }
        let overlap_tokens = match count(chunking.overlap_tokens) {
            Some(overlap) if overlap >= max_tokens => {
                let message = format!(
                    "chunking.overlap_tokens is {overlap}; use less than max_tokens, {max_tokens}"
                );
                return Err(invalid(message));
            }
            Some(overlap) => overlap,
            // A default is no demand: it gives way to a short chunk.
            None => settings.overlap_tokens.min(max_tokens / 4),
        };
        let model = payload.model.as_deref().unwrap_or(&settings.model);
        Ok(Self {
            model: folder_name(model)?.to_owned(),
            strategy,
            lengths: Lengths {
                max_tokens,
                overlap_tokens,
            },
            normalize: payload.normalize.unwrap_or(true),
        })
    }

    /// The lengths that fit a model which sees `model_tokens` word pieces.
    pub fn lengths_within(&self, model_tokens: usize) -> Lengths {
        let max_tokens = self.lengths.max_tokens.min(model_tokens);
        let overlap_tokens = self
            .lengths
            .overlap_tokens
            .min(max_tokens.saturating_sub(1));
        Lengths {
            max_tokens,
            overlap_tokens,
        }
    }
}

fn count(tokens: Option<u32>) -> Option<usize> {
    tokens.map(|tokens| usize::try_from(tokens).unwrap_or(usize::MAX))
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::fatal("PAYLOAD_INVALID", message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::contract::FailureClass;

    fn plan(payload: Value) -> Result<Plan, Failure> {
        Plan::new(Payload::deserialize(payload).unwrap(), &Settings::default())
    }

    #[test]
    fn an_empty_payload_means_the_defaults() {
        let plan = plan(json!({"later_field": 1})).unwrap();
        assert_eq!(plan.model, "all-MiniLM-L6-v2");
        assert_eq!(plan.strategy, Strategy::Sentence);
        assert_eq!(
            plan.lengths,
            Lengths {
                max_tokens: 128,
                overlap_tokens: 16
            }
        );
        assert!(plan.normalize);
    }

    #[test]
    fn what_is_asked_for_is_done() {
        let plan = plan(json!({
            "model": "sentence-transformers/other", "normalize": false,
            "chunking": {"strategy": "fixed", "max_tokens": 10, "overlap_tokens": 9}
        }))
        .unwrap();
        assert_eq!(
            (plan.model.as_str(), plan.strategy),
            ("other", Strategy::Fixed)
        );
        assert_eq!(
            plan.lengths,
            Lengths {
                max_tokens: 10,
                overlap_tokens: 9
            }
        );
        assert!(!plan.normalize);
    }

    #[test]
    fn what_cannot_be_done_is_refused_for_good() {
        let refused = [
            (
                json!({"chunking": {"strategy": "semantic"}}),
                "CHUNKING_STRATEGY_UNKNOWN",
            ),
            (json!({"chunking": {"max_tokens": 0}}), "PAYLOAD_INVALID"),
            (
                json!({"chunking": {"max_tokens": 5, "overlap_tokens": 5}}),
                "PAYLOAD_INVALID",
            ),
            (json!({"model": "../secrets/.."}), "MODEL_UNKNOWN"),
        ];
        for (payload, code) in refused {
            let failure = plan(payload).unwrap_err();
            assert_eq!(
                (&*failure.code, failure.class),
                (code, FailureClass::NonRetryable)
            );
        }
    }

    #[test]
    fn the_model_window_limits_what_was_asked_for() {
        let plan = plan(json!({"chunking": {"max_tokens": 512, "overlap_tokens": 400}})).unwrap();
        let within = plan.lengths_within(254);
        assert_eq!(
            within,
            Lengths {
                max_tokens: 254,
                overlap_tokens: 253
            }
        );
    }

    #[test]
    fn a_default_overlap_gives_way_to_short_chunks() {
        let plan = plan(json!({"chunking": {"max_tokens": 8}})).unwrap();
        assert_eq!(plan.lengths.overlap_tokens, 2);
    }
}
