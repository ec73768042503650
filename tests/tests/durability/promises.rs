//! docs/reliability.md names a test for every invariant and every fault, and each of those tests is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lucius_tests::places;

/// How many there are of each: I1 to I20, F1 to F42.
const IDS: [(char, usize); 2] = [('I', 20), ('F', 42)];

/// The names of all tests below a folder. Those that every backend has to pass are functions in `conformance`.
fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("it is there").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && name != "node_modules" {
                tests(&path, found);
            }
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = fs::read_to_string(&path).expect("it can be read");
            let of_all = path.iter().any(|part| part == "conformance");
            let mut is_test = of_all;
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[") {
                    is_test |= line.contains("test]") || line.contains("test(");
                    continue;
                }
                let is_part = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
                if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
                    found.insert(rest.chars().take_while(is_part).collect());
                }
                is_test = of_all;
            }
        }
    }
}

#[test]
fn every_promise_has_a_test_that_exists_or_says_why_not() {
    let document = places::workspace().join("docs/reliability.md");
    let document = fs::read_to_string(document).expect("it is there");
    let mut known = BTreeSet::new();
    for folder in ["host", "tests", "platform"] {
        tests(&places::workspace().join(folder), &mut known);
    }
    for (letter, count) in IDS {
        for number in 1..=count {
            let id = format!("| {letter}{number} | ");
            let rows: Vec<&str> = document
                .lines()
                .filter(|line| line.starts_with(&id))
                .collect();
            let [row] = rows[..] else {
                panic!("{id} has {} rows", rows.len())
            };
            let shown = row.rsplit(" | ").next().unwrap_or_default();
            let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
            let says_why = shown.contains("no test");
            assert!(!named.is_empty() || says_why, "{row}");
            for test in named
                .into_iter()
                .filter(|name| name.matches('_').count() > 2)
            {
                assert!(known.contains(test), "{id}: there is no test {test}");
            }
        }
    }
}
