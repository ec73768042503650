//! Wherever its host dies, a job comes to the end that it would have come to.
//!
//! Each story is told once without a death. Then its host dies at the first place at which it waits for anything, is
//! started again, and the story is told to its end; then at the second; and so on, until there is no place left. All
//! invariants are checked after every write, as in the runs by chance.

use lucius_simulation::{Story, Told, tell};

/// In which order a host does what it may do at the same time, and whether it acts on hints.
const SEEDS: [u64; 2] = [1, 2];

fn told(story: Story, seed: u64, death: Option<u64>) -> Told {
    tell(story, seed, death).unwrap_or_else(|failure| panic!("{failure}"))
}

/// Tells a story as often as its host can die.
fn with_every_death(story: Story, seed: u64) {
    let quiet = told(story, seed, None);
    assert_eq!(quiet.ends, story.ends(), "{}", quiet.history);
    assert!(quiet.stops > 20, "{} is not a life", quiet.history);
    for death in 1..=quiet.stops {
        let died = told(story, seed, Some(death));
        assert!(died.history.contains("host 0 dies"), "{}", died.history);
        let as_it_was = (died.ends, died.attempts) == (quiet.ends, quiet.attempts);
        let again = format!("--story {} --from {seed} --death {death}", story.name());
        assert!(as_it_was, "{}{again}: not as without", died.history);
    }
}

#[test]
fn wherever_its_host_dies_a_job_comes_to_the_end_that_it_would_have_come_to() {
    std::thread::scope(|scope| {
        for (story, seed) in Story::ALL.iter().zip(SEEDS.into_iter().cycle()) {
            scope.spawn(move || with_every_death(*story, seed));
        }
    });
}
