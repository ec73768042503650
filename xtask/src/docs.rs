//! What the documents say of the code is drawn from the code: the state model and the OpenAPI document.
//!
//! The tests that compare them write them too when they are told to, so there is one way to make them and no second
//! one to check them. A document that has drifted fails those tests.

use anyhow::Result;

use crate::shell;

/// Tells the tests to write what they would compare.
const BLESS: &str = "LUCIUS_BLESS";

/// The tests that own a document: crate, test program, and the beginning of their names.
const OWNERS: [[&str; 3]; 2] = [
    ["lucius-domain", "rules", "diagram::"],
    [
        "lucius-server",
        "http_api",
        "documents::the_document_that_is_checked_in",
    ],
];

/// Writes all documents that are drawn from the code; with `check`, only looks whether they are up to date.
pub(crate) fn run(check: bool) -> Result<()> {
    for [package, program, name] in OWNERS {
        let mut test = shell::cargo(&[
            "test",
            "--release",
            "-q",
            "-p",
            package,
            "--test",
            program,
            name,
        ]);
        if !check {
            test.env(BLESS, "1");
        }
        shell::run(&mut test)?;
    }
    Ok(())
}
