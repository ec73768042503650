//! Running the program to its end.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::{places, wait};

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code.
    pub code: Option<i32>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

impl Ended {
    /// This run, which ended with this code.
    ///
    /// # Panics
    /// It ended with another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// It is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(document) => document,
            Err(error) => panic!("{error}: {}", self.stdout),
        }
    }

    /// The one line on standard error.
    ///
    /// # Panics
    /// There are none or several.
    #[track_caller]
    pub fn one_line(&self) -> &str {
        let mut lines = self.stderr.lines();
        match (lines.next(), lines.next()) {
            (Some(line), None) => line,
            _ => panic!("not one line: {:?}", self.stderr),
        }
    }
}

/// A run of the program.
#[derive(Debug)]
pub struct Run {
    command: tokio::process::Command,
    stdin: String,
    patience: Duration,
}

impl Run {
    /// `lucius ARGS`, in this folder, without any setting of the surroundings.
    pub fn new<S: AsRef<std::ffi::OsStr>>(
        folder: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        let mut command = tokio::process::Command::new(places::program());
        command.args(args).current_dir(folder).kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LUCIUS_") {
                command.env_remove(name);
            }
        }
        Self {
            command,
            stdin: String::new(),
            patience: wait::patience(),
        }
    }

    /// Sets a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives text to standard input.
    #[must_use]
    pub fn stdin(mut self, text: impl Into<String>) -> Self {
        self.stdin = text.into();
        self
    }

    /// Waits as long as a compiler may take.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.patience = wait::COMPILING;
        self
    }

    /// Runs it.
    ///
    /// # Panics
    /// It cannot be started, or does not end; it is stopped then.
    pub async fn ended(mut self) -> Ended {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = self.command.spawn();
        let mut child = child.unwrap_or_else(|error| panic!("cannot start the program: {error}"));
        if let Some(mut input) = child.stdin.take() {
            // A program that does not read its input has closed it.
            let _ = input.write_all(self.stdin.as_bytes()).await;
        }
        let output = tokio::time::timeout(self.patience, child.wait_with_output()).await;
        let output = match output {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => panic!("the program's output broke off: {error}"),
            Err(_) => panic!("the program does not end: {:?}", self.command),
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ended {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}
