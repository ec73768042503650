//! The programs that read pages: tesseract with its English data, and poppler for PDF.
//!
//! They are Debian packages, installed for the whole machine: so this asks for the programs first, installs only
//! what is absent, and only as root or through a `sudo` that needs no password.

use anyhow::{Result, bail};

use super::Outcome;
use crate::shell;

const PROGRAMS: [&str; 3] = ["tesseract", "pdftotext", "pdftoppm"];
const PACKAGES: [&str; 3] = ["tesseract-ocr", "tesseract-ocr-eng", "poppler-utils"];

pub(super) fn bring() -> Result<Outcome> {
    if there() {
        return Ok(Outcome::There(format!(
            "{} (tesseract reads eng)",
            PROGRAMS.join(", ")
        )));
    }
    install(&PACKAGES)?;
    if there() {
        return Ok(Outcome::Brought(PACKAGES.join(", ")));
    }
    bail!(
        "the packages are installed, but {} are not all on PATH; add their folder",
        PROGRAMS.join(", ")
    )
}

/// What checks the alert rules that ship; it comes with Prometheus, which is not started.
pub(super) fn bring_promtool() -> Result<Outcome> {
    const PROMTOOL: &str = "promtool";
    if shell::find(PROMTOOL).is_some() {
        return Ok(Outcome::There(PROMTOOL.to_owned()));
    }
    install(&["prometheus"])?;
    match shell::find(PROMTOOL) {
        Some(_) => Ok(Outcome::Brought("prometheus".to_owned())),
        None => bail!("prometheus is installed, but {PROMTOOL} is not on PATH; add its folder"),
    }
}

/// Installs Debian packages where that is allowed.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    let by_hand = format!(
        "apt-get update && apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    );
    if shell::find("apt-get").is_none() {
        bail!(
            "this machine has no apt-get; install what Debian calls {}",
            packages.join(" ")
        );
    }
    let rise: &[&str] = match (is_root(), sudo_is_free()) {
        (true, _) => &[],
        (false, true) => &["sudo", "-n"],
        (false, false) => bail!("run as root: {by_hand}"),
    };
    let mut install = vec!["apt-get", "install", "-y", "--no-install-recommends"];
    install.extend(packages);
    for arguments in [vec!["apt-get", "update"], install] {
        let words = [rise, &["env", "DEBIAN_FRONTEND=noninteractive"], &arguments].concat();
        let mut command = shell::program(words[0]);
        command.args(&words[1..]);
        if shell::run(&mut command).is_err() {
            bail!("apt-get failed; when its cause is removed run as root: {by_hand}");
        }
    }
    Ok(())
}

/// A Python that can download packages; Debian's own comes without that.
pub(super) fn python() -> Result<String> {
    let usable =
        |name: &&str| shell::quiet(shell::program(name).args(["-m", "pip", "--version"])).is_some();
    let names = ["python3", "python"];
    if let Some(name) = names.iter().find(|name| usable(name)) {
        return Ok((*name).to_owned());
    }
    install(&["python3-pip"])?;
    match names.iter().find(|name| usable(name)) {
        Some(name) => Ok((*name).to_owned()),
        None => bail!("no python3 with pip; install one"),
    }
}

fn there() -> bool {
    PROGRAMS.iter().all(|name| shell::find(name).is_some()) && reads_english()
}

fn reads_english() -> bool {
    shell::quiet(shell::program("tesseract").arg("--list-langs")).is_some_and(|output| {
        let listed = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&listed)
            .lines()
            .any(|line| line.trim() == "eng")
    })
}

fn is_root() -> bool {
    shell::quiet(shell::program("id").arg("-u"))
        .is_some_and(|output| output.stdout.trim_ascii() == b"0")
}

fn sudo_is_free() -> bool {
    shell::quiet(shell::program("sudo").args(["-n", "true"])).is_some()
}
