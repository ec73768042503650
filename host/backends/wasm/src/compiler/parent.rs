//! The host's side of the child process: give it the component, take the answer, and judge how it ended.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use lucius_ports::plugin::AdmissionError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};

use super::child::{BROKE_DOWN, Tag};
use super::{Bounds, Child, Failure};
use crate::text::one_line;

/// The most of the child's own words that is read.
const WORDS_BYTES: u64 = 4 << 10;
const WORDS_CHARS: usize = 200;
/// What the kernel sends when processor time is used up.
const SIGXCPU: i32 = 24;
/// How Rust ends when there is no memory.
const NO_MEMORY: &str = "memory allocation of";

/// Compiles in a child process. Dropping the future ends the child.
///
/// # Errors
/// What the compiler said, or that it had to be stopped.
pub(super) async fn compile(child: &Child, component: &[u8]) -> Result<Vec<u8>, Failure> {
    let Bounds {
        memory_bytes,
        cpu_seconds,
        wall_seconds,
    } = child.bounds;
    let mut process = Command::new(&child.program)
        .args(&child.arguments)
        .args(["--memory-bytes", &memory_bytes.to_string()])
        .args(["--cpu-seconds", &cpu_seconds.to_string()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| not_now(format!("the compiler does not start: {error}")))?;
    let pipes = (
        process.stdin.take(),
        process.stdout.take(),
        process.stderr.take(),
    );
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(not_now("the compiler cannot be talked to".to_owned()));
    };
    let talk = async {
        let ((), answer, words) = tokio::join!(
            give(stdin, component),
            take(stdout, memory_bytes),
            overhear(stderr)
        );
        (answer, words, process.wait().await)
    };
    let talked = tokio::time::timeout(Duration::from_secs(wall_seconds), talk).await;
    let Ok((answer, words, ended)) = talked else {
        return Err(not_now(format!(
            "it did not get {cpu_seconds} s of processor time within {wall_seconds} s: reload when this machine is less busy"
        )));
    };
    let status = ended.map_err(|error| not_now(format!("the compiler is lost: {error}")))?;
    if let Some(why) = judge(status, &words, child.bounds) {
        let bounds = child.bounds;
        return Err(Failure::Stopped { why, bounds });
    }
    let answer = answer.map_err(|error| not_now(format!("the compiler is lost: {error}")))?;
    read(answer).ok_or_else(|| not_now(said(&words))).flatten()
}

async fn give(mut stdin: ChildStdin, component: &[u8]) {
    // A child that does not listen has ended, and its end says why.
    let _ = stdin.write_all(component).await;
}

async fn take(stdout: ChildStdout, most: u64) -> std::io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    stdout.take(most).read_to_end(&mut answer).await?;
    Ok(answer)
}

async fn overhear(stderr: ChildStderr) -> String {
    let mut words = Vec::new();
    // What it says is only a hint; what counts is how it ends.
    let _ = stderr.take(WORDS_BYTES).read_to_end(&mut words).await;
    String::from_utf8_lossy(&words).into_owned()
}

/// What the answer says; nothing when it is none.
fn read(mut answer: Vec<u8>) -> Option<Result<Vec<u8>, Failure>> {
    let tag = Tag::of(*answer.first()?)?;
    answer.remove(0);
    let reason = |answer: Vec<u8>| one_line(&String::from_utf8_lossy(&answer), WORDS_CHARS);
    let refused = |error| Err(Failure::Refused(error));
    Some(match tag {
        Tag::Compiled => Ok(answer),
        Tag::NotAComponent => refused(AdmissionError::NotAComponent(reason(answer))),
        Tag::Resources => refused(AdmissionError::Resources(reason(answer))),
        Tag::Compile => refused(AdmissionError::Compile(reason(answer))),
    })
}

/// Why the child had to be stopped, or broke down on the component; nothing when it ended by itself.
fn judge(status: ExitStatus, words: &str, bounds: Bounds) -> Option<String> {
    if status.code() == Some(i32::from(BROKE_DOWN)) {
        return Some(format!("the compiler broke down: {}", said(words)));
    }
    let signal = status.signal()?;
    if signal == SIGXCPU {
        let seconds = bounds.cpu_seconds;
        return Some(format!("it took more than {seconds} s of processor time"));
    }
    if words.contains(NO_MEMORY) {
        let bytes = bounds.memory_bytes;
        return Some(format!("it took more than {bytes} bytes of memory"));
    }
    Some(format!("the compiler was ended by signal {signal}"))
}

/// The first of the child's own words.
fn said(words: &str) -> String {
    let line = words.lines().find(|line| !line.trim().is_empty());
    one_line(line.unwrap_or("it gave no answer"), WORDS_CHARS)
}

fn not_now(reason: String) -> Failure {
    Failure::Refused(AdmissionError::Compile(reason))
}
