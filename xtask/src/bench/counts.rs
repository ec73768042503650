//! Instructions a piece of work takes, counted by callgrind: the same on a busy machine and on an idle one.
//!
//! Each piece runs twice, once with more rounds; the difference is what the rounds took, without the start of the
//! program. The counts of a machine with another compiler or C library differ a little, so only a rise of more than
//! [`ALLOWED_RISE`] is one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::shell;

/// What is counted, and with how many rounds.
const PIECES: [(&str, u64); 6] = [
    ("decide", 200),
    ("canonical", 500),
    ("validate", 200),
    ("encode", 200),
    ("ledger", 20),
    ("bus", 100),
];
/// 5 percent.
const ALLOWED_RISE: f64 = 1.05;

type Counts = BTreeMap<String, u64>;

fn kept_file() -> PathBuf {
    shell::root().join("tests/bench/instructions.json")
}

/// Counts, and keeps the counts.
pub(super) fn keep() -> Result<()> {
    let counts = take()?;
    fs::write(
        kept_file(),
        format!("{}\n", serde_json::to_string_pretty(&counts)?),
    )?;
    println!("kept in {}", shell::short(&kept_file()));
    Ok(())
}

/// Counts, and fails when a piece takes more than what is kept allows.
pub(super) fn check() -> Result<()> {
    let file = kept_file();
    let text = fs::read_to_string(&file)
        .with_context(|| format!("{} cannot be read", shell::short(&file)))?;
    let kept: Counts = serde_json::from_str(&text)?;
    let now = take()?;
    let risen = risen(&kept, &now);
    ensure!(
        risen.is_empty(),
        "more instructions than are kept: {}; make it cheaper, or keep the new counts with `cargo xtask bench --keep`",
        risen.join(", ")
    );
    println!("no piece takes over 5 % more instructions than are kept");
    Ok(())
}

fn risen(kept: &Counts, now: &Counts) -> Vec<String> {
    let of = |(piece, now): (&String, &u64)| {
        let kept = *kept.get(piece)?;
        (*now as f64 > kept as f64 * ALLOWED_RISE)
            .then(|| format!("{piece} {now} instead of {kept}"))
    };
    now.iter().filter_map(of).collect()
}

/// Instructions a round, by piece.
pub(super) fn take() -> Result<Counts> {
    let mut counts = Counts::new();
    for (piece, rounds) in PIECES {
        let (few, many) = (count(piece, rounds)?, count(piece, rounds * 2)?);
        let each = many.saturating_sub(few) / rounds;
        println!("  {piece:<12}{each:>12} instructions");
        counts.insert(piece.to_owned(), each);
    }
    Ok(counts)
}

fn count(piece: &str, rounds: u64) -> Result<u64> {
    let program = shell::target().join("release/lucius-bench");
    let mut command = shell::program("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([piece, &rounds.to_string()]);
    let output = command
        .output()
        .context("valgrind does not start: install it, as with `apt-get install valgrind`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("`{}` failed: {}", shell::typed(&command), said.trim());
    }
    collected(&said).with_context(|| format!("`{}` told no count", shell::typed(&command)))
}

/// The number that callgrind tells at its end.
fn collected(said: &str) -> Option<u64> {
    let (_, rest) = said.split_once("Collected : ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_what_callgrind_says() {
        let said = "==7== Events    : Ir\n==7== Collected : 123456\n==7==\n";
        assert_eq!(collected(said), Some(123_456));
        assert_eq!(collected("killed"), None);
    }

    #[test]
    fn a_rise_of_over_five_percent_is_told_and_less_is_not() {
        let of = |count| Counts::from([("decide".to_owned(), count)]);
        assert!(risen(&of(100), &of(105)).is_empty());
        assert_eq!(risen(&of(100), &of(106)), ["decide 106 instead of 100"]);
        assert!(risen(&Counts::new(), &of(106)).is_empty(), "a new piece");
    }
}
