//! What commands print: JSON for machines, aligned text for people.

use std::io::Write as _;

use serde_json::Value;

/// Prints one line.
pub(super) fn line(text: impl AsRef<str>) {
    // A reader that has seen enough, as `head` has, is no failure: what the command does goes on.
    drop(writeln!(std::io::stdout(), "{}", text.as_ref()));
}

/// Prints a document for machines.
pub(super) fn json(value: &Value) {
    line(format!("{value:#}"));
}

/// Prints rows in columns as wide as their widest cell.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |cells: Vec<&str>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        line(padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    print(header.to_vec());
    for row in rows {
        print(row.iter().map(String::as_str).collect());
    }
}

/// A member of a document as text; a dash when it is not there.
pub(super) fn text(document: &Value, member: &str) -> String {
    match document.get(member) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
