//! Seeds for tests that try what nobody thought of: a fixed set, and each time one more that nobody chose.
//!
//! `LUCIUS_MUTATIONS` sets how many are tried, `LUCIUS_MUTATION_SEED` where they begin; with the latter nothing is left
//! to chance.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

/// One try. If the test fails while it lasts, it says how to have it again.
#[derive(Debug)]
pub struct Seed(pub u64);

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "try this again with LUCIUS_MUTATION_SEED={} LUCIUS_MUTATIONS=1",
            self.0
        )
    }
}

impl Drop for Seed {
    #[expect(
        clippy::print_stderr,
        reason = "this is said to whoever reads a failed test"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{self}");
        }
    }
}

/// As many seeds as are asked for or set, and one at random.
///
/// # Panics
/// When one of the variables is no number.
pub fn seeds(otherwise: u64) -> impl Iterator<Item = Seed> {
    let first = number("LUCIUS_MUTATION_SEED");
    let count = number("LUCIUS_MUTATIONS").unwrap_or(otherwise);
    let begin = first.unwrap_or(1);
    let fixed = begin..begin.saturating_add(count);
    let random = || RandomState::new().hash_one(begin);
    fixed.chain(first.is_none().then(random)).map(Seed)
}

/// Whether somebody asked for seeds of their own. What only all of the fixed ones show, as that they are wild enough,
/// cannot be asked of these.
pub fn are_chosen() -> bool {
    let is_set = |variable| std::env::var_os(variable).is_some();
    is_set("LUCIUS_MUTATION_SEED") || is_set("LUCIUS_MUTATIONS")
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("the variable is a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_there_is_one_more_than_the_fixed_ones() {
        let numbers = || seeds(3).map(|seed| seed.0).collect::<Vec<_>>();
        let (one, other) = (numbers(), numbers());
        assert_eq!((&one[..3], one.len()), (&[1, 2, 3][..], 4));
        assert_ne!(one[3], other[3]);
    }
}
