//! The programs that OCR runs, with the limits every run has.

use std::ffi::OsString;
use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;

use super::Settings;
use crate::process::{self, Output, Run};
use crate::service::Failure;

/// A program and the Debian package that brings it.
#[derive(Debug)]
pub(super) struct Tool {
    program: &'static str,
    package: &'static str,
}

pub(super) const TESSERACT: Tool = Tool {
    program: "tesseract",
    package: "tesseract-ocr",
};
pub(super) const PDFINFO: Tool = Tool {
    program: "pdfinfo",
    package: "poppler-utils",
};
pub(super) const PDFTOTEXT: Tool = Tool {
    program: "pdftotext",
    package: "poppler-utils",
};
pub(super) const PDFTOPPM: Tool = Tool {
    program: "pdftoppm",
    package: "poppler-utils",
};

/// Runs a tool to its end. The failures of the machine are told here; what the exit status means
/// is the caller's to say.
pub(super) async fn run(
    settings: &Settings,
    tool: &Tool,
    args: Vec<OsString>,
    stdout_bytes: usize,
) -> Result<Output, Failure> {
    let Tool { program, package } = tool;
    let path = settings.tools_dir.as_ref().map(|dir| dir.join(program));
    let run = Run {
        program: path.as_deref().unwrap_or(Path::new(program)),
        args,
        env: &[("OMP_THREAD_LIMIT", "1"), ("LC_ALL", "C.UTF-8")],
        stdin: Bytes::new(),
        time: settings.page_time_limit,
        stdout_bytes,
        memory_bytes: settings.memory_bytes,
    };
    run.output().await.map_err(|error| match error {
        process::Error::Missing(name) => {
            let package = if name.ends_with("prlimit") {
                "util-linux"
            } else {
                package
            };
            let name = name.display();
            let message = format!("{name} is not installed; install the Debian package {package}");
            Failure::retryable("OCR_TOOL_MISSING", message)
        }
        process::Error::TimeLimit(limit) => {
            let limit = limit.as_millis();
            let message = format!("{program} took longer than {limit} ms; raise page_time_limit");
            Failure::retryable("OCR_TIME_LIMIT", message)
        }
        process::Error::OutputLimit(limit) => {
            let message = format!("{program} wrote more than {limit} bytes; split the document");
            Failure::fatal("OCR_OUTPUT_LIMIT", message)
        }
        process::Error::Io(error) => Failure::retryable(
            "OCR_TOOL_FAILED",
            format!("{program} cannot be run: {error}"),
        ),
    })
}

/// What an unsuccessful exit means, when the document is to blame by default.
pub(super) fn failed(output: &Output, code: &'static str, what: &str) -> Failure {
    let said = output.last_words();
    if let Err(failure) = enough_memory(output, what) {
        return failure;
    }
    if output.status.code().is_none() {
        let message = format!(
            "{what}: the program was ended by the system ({})",
            output.status
        );
        return Failure::retryable("OCR_TOOL_FAILED", message);
    }
    Failure::fatal(
        code,
        format!("{what}: {said}; check that the file is whole"),
    )
}

/// What the tools say when they were refused memory.
const SHORT_OF_MEMORY: [&str; 7] = [
    "bad_alloc",
    "alloc fail",
    "pix not made",
    "ut of memory",
    "failed to map segment",
    "annot allocate",
    "Bogus memory allocation",
];

/// Refuses a run that was short of memory. Both leptonica and poppler go on without what they did
/// not get and exit with success, so a page that is too large would pass for a blank one.
pub(super) fn enough_memory(output: &Output, what: &str) -> Result<(), Failure> {
    let short = |line: &&str| SHORT_OF_MEMORY.iter().any(|sign| line.contains(sign));
    let Some(said) = output.stderr.lines().find(short) else {
        return Ok(());
    };
    let said = said.trim();
    let message =
        format!("{what} within the memory limit ({said}); lower dpi or raise memory_bytes");
    Err(Failure::fatal("OCR_MEMORY_LIMIT", message))
}

/// A folder for one tool's files beside the file it works on, removed when dropped.
pub(super) fn folder_beside(file: &Path) -> Result<TempDir, Failure> {
    let place = file.parent().unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix("ocr-")
        .tempdir_in(place)
        .map_err(|error| {
            Failure::retryable(
                "OCR_TOOL_FAILED",
                format!("no room for temporary files: {error}"),
            )
        })
}
