//! Any program as a service: it gets the directive on stdin and says on stdout how it ended.
//!
//! ```json
//! {"status": "SUCCEEDED", "artifact_refs": [], "output_ref": "file:///out/step.txt"}
//! {"status": "FAILED", "failure_class": "RETRYABLE", "error": {"code": "BUSY", "message": "later"}}
//! ```
//!
//! The program writes its artifacts and the client's output itself; a folder for the artifacts is
//! in the environment as `LUCIUS_WORKSPACE_DIR`: below the directive's `workspace_ref`, or below the
//! worker's first write root when the worker may not write there. It never sees the attempt's token or lease: the
//! worker around it speaks to the host.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::contract::Ending;
use crate::process::{self, Output, Run};
use crate::service::{self, Delivery, Done, Failure, Progress, Task};

/// Which program, and its limits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The service's name on the bus.
    pub service: String,
    /// The program: a path, or a name in `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// How long one run may take.
    pub time_limit: Duration,
    /// The most it may write to stdout, in bytes.
    pub stdout_bytes: usize,
    /// How much address space one run may have, by `prlimit`; unlimited when absent.
    pub memory_bytes: Option<u64>,
}

impl Settings {
    /// The program with the default limits: one hour, 1 MiB of output, no memory limit.
    pub fn new(service: impl Into<String>, program: PathBuf, args: Vec<OsString>) -> Self {
        Self {
            service: service.into(),
            program,
            args,
            time_limit: Duration::from_secs(3600),
            stdout_bytes: 1 << 20,
            memory_bytes: None,
        }
    }
}

/// Runs a program for each directive.
#[derive(Debug)]
pub struct Service {
    settings: Settings,
}

impl Service {
    /// The service for one program.
    pub const fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

#[async_trait]
impl service::Service for Service {
    fn name(&self) -> &str {
        &self.settings.service
    }

    fn step_type(&self) -> &str {
        "any"
    }

    fn places_results(&self) -> bool {
        true
    }

    async fn run(&self, task: Task, _progress: Progress) -> Result<Done, Failure> {
        let Settings {
            program,
            args,
            time_limit,
            stdout_bytes,
            memory_bytes,
            ..
        } = &self.settings;
        let workspace = task.workspace.dir().to_string_lossy().into_owned();
        let run = Run {
            program,
            args: args.clone(),
            env: &[("LUCIUS_WORKSPACE_DIR", &workspace)],
            stdin: Bytes::from(without_secrets(&task)?.to_string()),
            time: *time_limit,
            stdout_bytes: *stdout_bytes,
            memory_bytes: *memory_bytes,
        };
        let name = program.display();
        let output = run.output().await.map_err(|error| match error {
            process::Error::Missing(_) => Failure::retryable(
                "PROGRAM_MISSING",
                format!("{error}; install it or its path"),
            ),
            process::Error::TimeLimit(_) => {
                Failure::retryable("PROGRAM_TIME_LIMIT", format!("{name} {error}"))
            }
            process::Error::OutputLimit(_) => {
                let message = format!("{name} {error} to stdout; write artifacts to files instead");
                Failure::fatal("PROGRAM_OUTPUT_LIMIT", message)
            }
            process::Error::Io(_) => {
                Failure::retryable("PROGRAM_FAILED", format!("{name} {error}"))
            }
        })?;
        if !output.status.success() {
            let said = output.last_words();
            let message = format!("{name} ended with {}: {said}", output.status);
            return Err(Failure::retryable("PROGRAM_FAILED", message));
        }
        outcome(&name.to_string(), &output)
    }
}

fn outcome(name: &str, output: &Output) -> Result<Done, Failure> {
    let ending: Ending = serde_json::from_slice(&output.stdout).map_err(|error| {
        let message = format!("{name} wrote no result to stdout: {error}");
        Failure::fatal("PROGRAM_OUTPUT_INVALID", message)
            .with_details(json!({ "stderr": output.last_words() }))
    })?;
    match ending {
        Ending::Succeeded {
            output_ref,
            artifact_refs,
        } => Ok(Done {
            artifacts: artifact_refs.into_iter().map(Into::into).collect(),
            delivery: Delivery::ByService(output_ref),
        }),
        Ending::Failed {
            failure_class,
            error,
        } => Err(Failure {
            class: failure_class,
            code: error.code.into(),
            message: error.message,
            details: error.details,
        }),
    }
}

/// The directive as the program gets it: valid by its contract, with a lease that opens nothing.
fn without_secrets(task: &Task) -> Result<Value, Failure> {
    let mut directive = serde_json::to_value(&*task.directive).map_err(|error| {
        Failure::fatal(
            "PROGRAM_INPUT_INVALID",
            format!("cannot write the directive: {error}"),
        )
    })?;
    directive["lease_id"] = json!(uuid::Uuid::nil());
    if let Some(fields) = directive.as_object_mut() {
        fields.remove("callback_token");
    }
    Ok(directive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::FailureClass;

    async fn run(script: &str) -> Result<Done, Failure> {
        let run = Run {
            program: "sh".as_ref(),
            args: vec!["-c".into(), script.into()],
            env: &[],
            stdin: Bytes::new(),
            time: Duration::from_secs(60),
            stdout_bytes: 1024,
            memory_bytes: None,
        };
        outcome("sh", &run.output().await.unwrap())
    }

    #[tokio::test]
    async fn what_a_program_says_on_stdout_is_the_outcome() {
        let done =
            run(r#"echo '{"status":"SUCCEEDED","artifact_refs":["s3://b/x",{"uri":"s3://b/y"}]}'"#)
                .await
                .unwrap();
        let uris: Vec<_> = done
            .artifacts
            .iter()
            .map(|artifact| artifact.uri.as_str())
            .collect();
        assert_eq!(uris, ["s3://b/x", "s3://b/y"]);

        let failure = run(r#"echo '{"status":"FAILED","failure_class":"NON_RETRYABLE",
                      "error":{"code":"BAD","message":"no"}}'"#)
        .await
        .unwrap_err();
        assert_eq!(
            (failure.class, &*failure.code),
            (FailureClass::NonRetryable, "BAD")
        );
    }

    #[tokio::test]
    async fn a_program_that_says_nothing_is_told_so() {
        let failure = run("echo oops >&2").await.unwrap_err();
        assert_eq!(failure.code, "PROGRAM_OUTPUT_INVALID");
        assert_eq!(failure.details.unwrap()["stderr"], "oops");
    }
}
