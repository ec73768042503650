//! The simulator finds every deliberate defect, by the invariant that forbids it and within a few runs.

use lucius_simulation::{Again, Mutation, simulate};

/// How many seeds a defect may hide from.
const SEEDS: u64 = 200;

#[test]
fn every_mutation_is_caught_by_name() {
    for mutation in Mutation::ALL {
        let name = mutation.name();
        let caught = (1..=SEEDS).find_map(|seed| simulate(seed, Some(*mutation)).err());
        let failure = caught.unwrap_or_else(|| panic!("{name} was not caught in {SEEDS} runs"));
        assert!(
            mutation.caught_by().contains(&failure.invariant),
            "{name} was caught by another invariant: {failure}"
        );
        assert!(matches!(failure.again, Again::Seed(1..=SEEDS, Some(it)) if it == *mutation));
        let command = format!("-- {}", failure.again);
        assert!(command.ends_with(&format!(" --mutation {name}")));
        assert!(failure.to_string().ends_with(&command), "{failure}");
        assert!(!failure.history.is_empty());
    }
}

#[test]
fn a_failure_is_the_same_when_it_is_replayed() {
    let failure = |seed| simulate(seed, Some(Mutation::PublishNothing)).err();
    let seed = (1..=SEEDS).find(|seed| failure(*seed).is_some());
    let seed = seed.expect("a bus that takes nothing is noticed");
    assert_eq!(failure(seed), failure(seed));
}
