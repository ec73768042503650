//! Runs another program within limits: time, memory, and how much of its output is kept.
//!
//! The programs read files that clients made, so each run is one that may never end, eat the
//! machine or write without end. A program that goes over a limit is killed; so is one whose caller
//! no longer waits.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// How much of what a program says on stderr is kept, from its end, in bytes.
const STDERR_KEPT_BYTES: usize = 8 * 1024;

/// What to run, and within which limits.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// A path, or a name that is looked up in `PATH`.
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: &'a [(&'a str, &'a str)],
    pub(crate) stdin: Bytes,
    pub(crate) time: Duration,
    pub(crate) stdout_bytes: usize,
    /// Limits the address space by `prlimit`, which must then be there.
    pub(crate) memory_bytes: Option<u64>,
}

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Output {
    /// The last line of stderr that says anything.
    pub(crate) fn last_words(&self) -> &str {
        self.stderr
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .unwrap_or("")
    }
}

/// Why a program did not come to its own end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{} is not installed", .0.display())]
    Missing(PathBuf),
    #[error("took longer than {} ms", .0.as_millis())]
    TimeLimit(Duration),
    #[error("wrote more than {0} bytes")]
    OutputLimit(usize),
    #[error("cannot be run: {0}")]
    Io(#[from] std::io::Error),
}

impl Run<'_> {
    /// Runs the program to its end.
    pub(crate) async fn output(self) -> Result<Output, Error> {
        let mut child = self.command()?.spawn()?;
        let Self {
            stdin,
            time,
            stdout_bytes,
            ..
        } = self;
        let ended = tokio::time::timeout(time, attend(&mut child, stdin, stdout_bytes)).await;
        match ended {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => {
                child.kill().await?;
                Err(error)
            }
            Err(_) => {
                child.kill().await?;
                Err(Error::TimeLimit(time))
            }
        }
    }

    fn command(&self) -> Result<Command, Error> {
        let program = find(self.program)?;
        let mut command = match self.memory_bytes {
            None => Command::new(program),
            Some(bytes) => {
                let mut limited = Command::new(find(Path::new("prlimit"))?);
                limited.arg(format!("--as={bytes}")).arg("--").arg(program);
                limited
            }
        };
        command
            .args(&self.args)
            .envs(self.env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }
}

async fn attend(child: &mut Child, stdin: Bytes, stdout_bytes: usize) -> Result<Output, Error> {
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut input) = input {
            // A program may end without reading all it was given; its exit says whether that is so
            // intended.
            let _unread = input.write_all(&stdin).await;
        }
        Ok(())
    };
    let ((), stdout, stderr) =
        tokio::try_join!(feed, at_most(output, stdout_bytes), end_of(errors))?;
    let status = child.wait().await?;
    Ok(Output {
        status,
        stdout,
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

async fn at_most<R: AsyncRead + Unpin>(from: Option<R>, limit: usize) -> Result<Vec<u8>, Error> {
    let mut read = Vec::new();
    if let Some(from) = from {
        let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        from.take(one_more).read_to_end(&mut read).await?;
    }
    if read.len() > limit {
        Err(Error::OutputLimit(limit))
    } else {
        Ok(read)
    }
}

async fn end_of<R: AsyncRead + Unpin>(from: Option<R>) -> Result<Vec<u8>, Error> {
    let mut kept = Vec::new();
    let Some(mut from) = from else {
        return Ok(kept);
    };
    let mut chunk = [0_u8; 4096];
    loop {
        let count = from.read(&mut chunk).await?;
        if count == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(&chunk[..count]);
        let surplus = kept.len().saturating_sub(STDERR_KEPT_BYTES);
        kept.drain(..surplus);
    }
}

/// Finds a program, so that a missing one is told apart from one that cannot be run.
fn find(program: &Path) -> Result<PathBuf, Error> {
    if program.components().count() > 1 {
        let missing = || Error::Missing(program.to_owned());
        return if program.is_file() {
            Ok(program.to_owned())
        } else {
            Err(missing())
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Error::Missing(program.to_owned()))
}

/// Command-line arguments from text and paths.
pub(crate) fn args<const N: usize>(from: [&dyn AsRef<OsStr>; N]) -> Vec<OsString> {
    from.iter().map(|arg| arg.as_ref().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Run<'static> {
        Run {
            program: Path::new("sh"),
            args: vec!["-c".into(), script.into()],
            env: &[("WORD", "blue")],
            stdin: Bytes::from_static(b"given"),
            time: Duration::from_secs(60),
            stdout_bytes: 1024,
            memory_bytes: None,
        }
    }

    #[tokio::test]
    async fn a_program_gets_its_input_and_its_output_comes_back() {
        let run = shell("cat; echo \" $WORD\"; echo first >&2; echo last >&2; echo >&2; exit 3");
        let output = run.output().await.unwrap();
        assert_eq!(output.stdout, b"given blue\n");
        assert_eq!(output.last_words(), "last");
        assert_eq!(output.status.code(), Some(3));
    }

    #[tokio::test]
    async fn a_program_that_writes_without_end_is_killed() {
        let ended = shell("exec yes").output().await;
        assert!(matches!(ended, Err(Error::OutputLimit(1024))), "{ended:?}");
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed() {
        let run = Run {
            time: Duration::from_millis(50),
            ..shell("exec sleep 1000")
        };
        let ended = run.output().await;
        assert!(matches!(ended, Err(Error::TimeLimit(_))), "{ended:?}");
    }

    #[tokio::test]
    async fn a_program_that_wants_too_much_memory_does_not_get_it() {
        let script = "head -c 300000000 /dev/zero | tail -c 300000000 | wc -c";
        let run = Run {
            memory_bytes: Some(100_000_000),
            ..shell(script)
        };
        let output = run.output().await.unwrap();
        assert_ne!(output.stdout, b"300000000\n");
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let run = Run {
            program: Path::new("no-such-program"),
            ..shell("")
        };
        assert_eq!(
            run.output().await.unwrap_err().to_string(),
            "no-such-program is not installed"
        );
    }

    #[tokio::test]
    async fn a_program_that_ignores_its_input_is_no_failure() {
        let run = Run {
            stdin: vec![b'x'; 1 << 20].into(),
            ..shell("exit 0")
        };
        assert!(run.output().await.unwrap().status.success());
    }
}
