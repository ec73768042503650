//! A fixed set of seeds on every run of the tests, and one that nobody has tried. A seed that once failed is kept.

use lucius_simulation::simulate;

fn holds(seed: u64) {
    if let Err(failure) = simulate(seed, None) {
        panic!("{failure}");
    }
}

#[test]
fn nothing_accepted_is_lost_whatever_goes_wrong() {
    (1..=300).for_each(holds);
}

#[test]
fn nothing_accepted_is_lost_in_a_run_that_nobody_has_tried() {
    let seed = getrandom::u64().expect("the system has randomness");
    #[expect(clippy::print_stdout, reason = "the seed is news, also when it holds")]
    {
        println!("seed {seed}");
    }
    holds(seed);
}

#[test]
fn a_slow_bus_does_not_hold_up_the_end() {
    holds(1_844);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..=20 {
        let (first, second) = (simulate(seed, None), simulate(seed, None));
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn the_runs_reach_every_end_of_a_job() {
    let mut ends = [0; 3];
    for seed in 1..=60 {
        let report = simulate(seed, None).unwrap_or_else(|failure| panic!("{failure}"));
        for (all, one) in ends.iter_mut().zip(report.ends) {
            *all += one;
        }
    }
    assert!(
        ends.iter().all(|count| *count > 5),
        "done, failed, cancelled: {ends:?}"
    );
}
