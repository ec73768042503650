//! The step plugin `sis`: what the schema of an SIS (semantic) payload cannot say.
//!
//! Which prompt sets exist is a matter of the installation, so it stands in the plugin's configuration and is checked
//! before a job exists. A question about nothing is not asked: when the steps before found nothing to read, the step is
//! skipped and the job says so, instead of a model inventing an answer. An overloaded model gets more rest each time.

use std::time::Duration;

use lucius_step_sdk::{
    Context, Description, Outcome, Rest, Route, Settle, Step, StepOutput, Violations, quoted,
};
use serde::{Deserialize, Serialize};

/// The longest prompt, in characters, when the configuration sets no other; a few pages of instructions.
const PROMPT_CHARACTERS_MAX: usize = 16_000;

/// The rest of an overloaded model before the second attempt; it doubles with every further one.
const OVERLOADED_DELAY: Duration = Duration::from_secs(30);
/// No rest is longer than this.
const OVERLOADED_DELAY_MAX: Duration = Duration::from_secs(600);

/// What to ask about a document. The other fields of the schema pass through as they are.
#[derive(Debug, Serialize, Deserialize)]
pub struct Payload {
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_set: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    #[serde(flatten)]
    rest: Rest,
}

/// What the registry says about this installation.
#[derive(Debug, Deserialize)]
#[serde(try_from = "AuthoredConfig")]
pub struct Config {
    prompt_sets: Vec<String>,
    default_prompt_set: String,
    prompt_characters_max: usize,
}

/// The configuration as written, before it is checked against itself.
#[derive(Debug, Deserialize)]
struct AuthoredConfig {
    /// The prompt sets that the workers have.
    prompt_sets: Vec<String>,
    /// The prompt set when a payload names none.
    default_prompt_set: String,
    /// The longest prompt, in characters.
    prompt_characters_max: Option<usize>,
}

impl TryFrom<AuthoredConfig> for Config {
    type Error = String;

    fn try_from(authored: AuthoredConfig) -> Result<Self, String> {
        let AuthoredConfig {
            prompt_sets,
            default_prompt_set,
            prompt_characters_max,
        } = authored;
        if !prompt_sets.contains(&default_prompt_set) {
            return Err(format!(
                "default_prompt_set {default_prompt_set:?} is not among prompt_sets"
            ));
        }
        let prompt_characters_max = prompt_characters_max.unwrap_or(PROMPT_CHARACTERS_MAX);
        Ok(Self {
            prompt_sets,
            default_prompt_set,
            prompt_characters_max,
        })
    }
}

/// The plugin.
#[derive(Debug)]
pub struct Sis;

impl Step for Sis {
    type Payload = Payload;
    type Config = Config;

    fn describe() -> Description {
        Description::new("sis", env!("CARGO_PKG_VERSION"))
            .step_type("SIS")
            .service("platform-sis")
    }

    fn validate(payload: Payload, config: &Config) -> Result<Payload, Violations> {
        let mut violations = Violations::new();
        let prompt_set = payload
            .prompt_set
            .map(|set| set.trim().to_owned())
            .filter(|set| !set.is_empty());
        let prompt_set = prompt_set.unwrap_or_else(|| config.default_prompt_set.clone());
        if !config.prompt_sets.contains(&prompt_set) {
            let known = config.prompt_sets.join(", ");
            let message = format!(
                "no prompt set {} here; choose one of: {known}",
                quoted(&prompt_set)
            );
            violations.add("/prompt_set", "PROMPT_SET_UNKNOWN", message);
        }
        // A prompt is passed on to the letter; only a blank one, which asks nothing, is dropped.
        let prompt = payload.prompt.filter(|prompt| !prompt.trim().is_empty());
        let characters = prompt.as_ref().map_or(0, |prompt| prompt.chars().count());
        if characters > config.prompt_characters_max {
            let max = config.prompt_characters_max;
            let message =
                format!("the prompt has {characters} characters; shorten it to at most {max}");
            violations.add("/prompt", "PROMPT_TOO_LONG", message);
        }
        violations.or(Payload {
            prompt_set: Some(prompt_set),
            prompt,
            rest: payload.rest,
        })
    }

    fn route(context: &Context<Self>) -> Route {
        match context.previous().and_then(reason_to_skip) {
            Some(reason) => Route::Skip(reason),
            None => context.dispatch().into(),
        }
    }

    fn settle(context: &Context<Self>, outcome: &Outcome) -> Settle {
        match outcome {
            Outcome::Succeeded(artifacts) if artifacts.is_empty() => Settle::fail(
                "ARTIFACTS_MISSING",
                "the worker reported success but named no artifact; it must name the answer it wrote in artifact_refs",
            ),
            Outcome::Failed(failure) if failure.code == "MODEL_OVERLOADED" => {
                Settle::retry_after(overloaded_delay(context.attempt), failure.reason())
            }
            Outcome::Succeeded(_) | Outcome::Failed(_) => Settle::by_default(outcome),
        }
    }
}

lucius_step_sdk::export!(Sis);

/// Why there is nothing to ask about after `previous`; none when there is something, or when nothing is known.
fn reason_to_skip(previous: &StepOutput) -> Option<String> {
    let step = &previous.step_id;
    let why = if previous.skipped {
        "was skipped"
    } else if previous.all_zero("chunks") {
        "made no chunks"
    } else if previous.all_zero("characters") {
        "found no text"
    } else {
        return None;
    };
    Some(format!(
        "There is nothing to ask about: the step {step:?} before it {why}."
    ))
}

/// How long to wait after `attempt`, counted from 1.
fn overloaded_delay(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1);
    let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
    OVERLOADED_DELAY
        .saturating_mul(factor)
        .min(OVERLOADED_DELAY_MAX)
}
