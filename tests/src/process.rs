//! A program that a test starts, listens to, signals and ends.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::wait;

/// A child process that is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) url: String,
    pub(crate) said: Arc<Mutex<String>>,
}

impl Process {
    /// Runs the command until it has said `ready`.
    pub(crate) async fn run(mut command: Command, log: &Path) -> Result<Self, String> {
        let errors = OpenOptions::new().create(true).append(true).open(log);
        let errors = errors.map_err(|error| error.to_string())?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let output = child.stdout.take();
        let mut process = Self {
            child,
            url: String::new(),
            said: Arc::default(),
        };
        if let Some(output) = output {
            process.listen_to(output);
        }
        let since = Instant::now();
        loop {
            let said = process
                .said
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if said.lines().any(|line| line == "ready") {
                let api = said.lines().find_map(|line| line.strip_prefix("api "));
                process.url = api.unwrap_or_default().trim().to_owned();
                return Ok(process);
            }
            if process
                .child
                .try_wait()
                .is_ok_and(|status| status.is_some())
                || since.elapsed() > wait::patience()
            {
                return Err(std::fs::read_to_string(log).unwrap_or_default());
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Sends it a signal, by its id.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id();
        let sent = Command::new("kill").args([name, &pid.to_string()]).status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "process {pid} cannot be signalled"
        );
    }

    /// Keeps what it prints, for as long as it runs.
    fn listen_to(&self, output: ChildStdout) {
        let said = Arc::clone(&self.said);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                said.push_str(&line);
                said.push('\n');
            }
        });
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        wait::until("the end of the process", async || {
            self.child.try_wait().ok().flatten()
        })
        .await
    }

    pub(crate) fn kill(&mut self) {
        // It may have ended by itself; there is nothing left to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
