//! The step plugin `embedding`: what the schema of an EMBEDDING payload cannot say.
//!
//! Which model made a vector decides what it can be compared with, and how text was cut decides what can be found. So
//! neither is left to a worker's mood: validation writes every choice into the payload, and with it into the directive
//! and the job's history. A document without text is not sent anywhere; the job says why.

use lucius_step_sdk::{
    Artifact, Context, Description, Outcome, Rest, Route, Settle, Step, StepOutput, Violations,
    quoted, whole,
};
use serde::{Deserialize, Serialize};

const STRATEGY_DEFAULT: &str = "sentence";
/// Below the 256 tokens that small sentence models read, with room for what a tokenizer adds.
const MAX_TOKENS_DEFAULT: u64 = 200;
/// Sentences are whole thoughts: repeating some in the next chunk makes more vectors, not better ones.
const OVERLAP_TOKENS_DEFAULT: u64 = 0;

/// How to turn a text into vectors.
#[derive(Debug, Serialize, Deserialize)]
pub struct Payload {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunking: Option<Chunking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    normalize: Option<bool>,
    #[serde(flatten)]
    rest: Rest,
}

/// How to cut a text before embedding it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Chunking {
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy: Option<String>,
    #[serde(
        default,
        deserialize_with = "whole",
        skip_serializing_if = "Option::is_none"
    )]
    max_tokens: Option<u64>,
    #[serde(
        default,
        deserialize_with = "whole",
        skip_serializing_if = "Option::is_none"
    )]
    overlap_tokens: Option<u64>,
    #[serde(flatten)]
    rest: Rest,
}

/// What the registry says about this installation.
#[derive(Debug, Deserialize)]
#[serde(try_from = "AuthoredConfig")]
pub struct Config {
    models: Vec<String>,
    default_model: String,
    max_tokens_limit: u64,
}

/// The configuration as written, before it is checked against itself.
#[derive(Debug, Deserialize)]
struct AuthoredConfig {
    /// The models that the workers have.
    models: Vec<String>,
    /// The model when a payload names none.
    default_model: String,
    /// The most tokens a chunk may have; what the models read at once.
    max_tokens_limit: u64,
}

impl TryFrom<AuthoredConfig> for Config {
    type Error = String;

    fn try_from(authored: AuthoredConfig) -> Result<Self, String> {
        let AuthoredConfig {
            models,
            default_model,
            max_tokens_limit,
        } = authored;
        if !models.contains(&default_model) {
            return Err(format!(
                "default_model {default_model:?} is not among models"
            ));
        }
        if max_tokens_limit == 0 {
            return Err("max_tokens_limit must be at least 1".into());
        }
        Ok(Self {
            models,
            default_model,
            max_tokens_limit,
        })
    }
}

/// The plugin.
#[derive(Debug)]
pub struct Embedding;

impl Step for Embedding {
    type Payload = Payload;
    type Config = Config;

    fn describe() -> Description {
        Description::new("embedding", env!("CARGO_PKG_VERSION"))
            .step_type("EMBEDDING")
            .service("platform-embedding")
    }

    fn validate(payload: Payload, config: &Config) -> Result<Payload, Violations> {
        let mut violations = Violations::new();
        let model = trimmed(payload.model).unwrap_or_else(|| config.default_model.clone());
        if !config.models.contains(&model) {
            let known = config.models.join(", ");
            violations.add(
                "/model",
                "MODEL_UNKNOWN",
                format!("no model {} here; choose one of: {known}", quoted(&model)),
            );
        }
        let chunking = checked_chunking(
            payload.chunking.unwrap_or_default(),
            config,
            &mut violations,
        );
        violations.or(Payload {
            model: Some(model),
            chunking: Some(chunking),
            normalize: Some(payload.normalize.unwrap_or(true)),
            rest: payload.rest,
        })
    }

    fn route(context: &Context<Self>) -> Route {
        match context.previous().and_then(reason_to_skip) {
            Some(reason) => Route::Skip(reason),
            None => context.dispatch().into(),
        }
    }

    fn settle(_: &Context<Self>, outcome: &Outcome) -> Settle {
        match outcome {
            Outcome::Succeeded(artifacts) if artifacts.is_empty() => Settle::fail(
                "ARTIFACTS_MISSING",
                "the worker reported success but named no artifact; it must name the vectors it wrote in artifact_refs",
            ),
            Outcome::Succeeded(_) | Outcome::Failed(_) => Settle::by_default(outcome),
        }
    }
}

lucius_step_sdk::export!(Embedding);

/// Fills in the defaults and compares what results, so that a value is judged with the default it will meet.
fn checked_chunking(chunking: Chunking, config: &Config, violations: &mut Violations) -> Chunking {
    let limit = config.max_tokens_limit;
    let max_tokens = chunking.max_tokens.unwrap_or(MAX_TOKENS_DEFAULT.min(limit));
    let overlap_tokens = chunking.overlap_tokens.unwrap_or(OVERLAP_TOKENS_DEFAULT);
    if max_tokens == 0 {
        violations.add(
            "/chunking/max_tokens",
            "MAX_TOKENS_ZERO",
            "a chunk needs at least 1 token",
        );
    } else if overlap_tokens >= max_tokens {
        let message = format!(
            "overlap_tokens is {overlap_tokens} and must be below max_tokens, which is {max_tokens}{}",
            if chunking.max_tokens.is_some() {
                ""
            } else {
                " by default"
            },
        );
        violations.add("/chunking/overlap_tokens", "OVERLAP_NOT_BELOW_MAX", message);
    }
    if max_tokens > limit {
        let message = format!("max_tokens is {max_tokens}; the models here read at most {limit}");
        violations.add("/chunking/max_tokens", "MAX_TOKENS_ABOVE_LIMIT", message);
    }
    Chunking {
        strategy: trimmed(chunking.strategy).or_else(|| Some(STRATEGY_DEFAULT.into())),
        max_tokens: Some(max_tokens),
        overlap_tokens: Some(overlap_tokens),
        rest: chunking.rest,
    }
}

/// Why there is nothing to embed after `previous`; none when there is something, or when nothing is known.
fn reason_to_skip(previous: &StepOutput) -> Option<String> {
    let step = &previous.step_id;
    if previous.skipped {
        return Some(format!(
            "There is no text to embed: the step {step:?} before it was skipped."
        ));
    }
    let all_counted = previous
        .artifacts
        .iter()
        .filter(is_text)
        .all(|text| text.count("characters").is_some());
    (all_counted && previous.all_zero("characters")).then(|| {
        format!("There is no text to embed: the step {step:?} found none in the document.")
    })
}

fn is_text(artifact: &&Artifact) -> bool {
    artifact.is("text/plain")
}

/// What is blank counts as not given.
fn trimmed(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}
