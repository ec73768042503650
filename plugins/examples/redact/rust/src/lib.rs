//! The step plugin `redact` in Rust.

use std::collections::BTreeSet;
use std::time::Duration;

use lucius_step_sdk::{
    Context, Description, Level, Outcome, Rest, Route, Settle, Step, Violations, log, quoted,
};
use serde::{Deserialize, Serialize};

const REPLACEMENT_CHARACTERS_MAX: usize = 32;
/// How long a worker that loads its dictionary is left alone.
const LOADING_DELAY: Duration = Duration::from_secs(5);

/// What to redact, and what to write in its place.
#[derive(Debug, Serialize, Deserialize)]
pub struct Payload {
    categories: Option<Vec<String>>,
    replacement: Option<String>,
    #[serde(flatten)]
    rest: Rest,
}

/// What the registry says about this installation.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// The categories that the workers know.
    categories: Vec<String>,
}

/// The plugin.
#[derive(Debug)]
pub struct Redact;

impl Step for Redact {
    type Payload = Payload;
    type Config = Config;

    fn describe() -> Description {
        Description::new("redact", env!("CARGO_PKG_VERSION"))
            .step_type("REDACT")
            .service("platform-redact")
    }

    fn validate(payload: Payload, config: &Config) -> Result<Payload, Violations> {
        let mut violations = Violations::new();
        let known = &config.categories;
        let mut categories = BTreeSet::new();
        for (index, name) in payload
            .categories
            .as_ref()
            .unwrap_or(known)
            .iter()
            .enumerate()
        {
            let name = name.trim().to_uppercase();
            if !known.contains(&name) {
                let known = known.join(", ");
                let message = format!("no category {} here; choose one of: {known}", quoted(&name));
                violations.add(format!("/categories/{index}"), "CATEGORY_UNKNOWN", message);
            }
            categories.insert(name);
        }
        let replacement = payload
            .replacement
            .unwrap_or_else(|| "[redacted]".to_owned());
        if replacement.chars().count() > REPLACEMENT_CHARACTERS_MAX {
            let message = format!(
                "shorten the replacement to at most {REPLACEMENT_CHARACTERS_MAX} characters"
            );
            violations.add("/replacement", "REPLACEMENT_TOO_LONG", message);
        }
        violations.or(Payload {
            categories: Some(categories.into_iter().collect()),
            replacement: Some(replacement),
            rest: payload.rest,
        })
    }

    fn route(context: &Context<Self>) -> Route {
        match context.previous() {
            Some(previous) if previous.all_zero("characters") => Route::skip(format!(
                "step {} found no text, so there is nothing to redact",
                previous.step_id
            )),
            Some(_) | None => context.dispatch().into(),
        }
    }

    fn settle(context: &Context<Self>, outcome: &Outcome) -> Settle {
        match outcome {
            Outcome::Succeeded(artifacts) if artifacts.is_empty() => Settle::fail(
                "ARTIFACTS_MISSING",
                "the worker reported success but named no artifact; it must name the text it wrote",
            ),
            Outcome::Failed(failure) if failure.code == "DICTIONARY_LOADING" => {
                let attempt = context.attempt;
                log(
                    Level::Info,
                    &format!("attempt {attempt} met a worker that is loading its dictionary"),
                );
                Settle::retry_after(LOADING_DELAY, failure.reason())
            }
            Outcome::Succeeded(_) | Outcome::Failed(_) => Settle::by_default(outcome),
        }
    }
}

lucius_step_sdk::export!(Redact);
