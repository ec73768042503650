//! What a bench found, as text for people; `--json` shows the same document.

use serde_json::Value;

/// Prints a report.
#[expect(
    clippy::print_stdout,
    reason = "the report is what this command is for"
)]
pub(super) fn print(report: &Value, as_json: bool) {
    if as_json {
        println!("{report:#}");
    } else {
        println!("{}", text(report));
    }
}

/// Each section with its numbers in rows; a stage's percentiles stand in one row.
fn text(report: &Value) -> String {
    let mut lines = Vec::new();
    for (name, value) in report.as_object().into_iter().flatten() {
        match value {
            Value::Object(members) if members.values().any(Value::is_object) => {
                lines.push(name.clone());
                lines.extend(
                    members
                        .iter()
                        .map(|(name, row)| format!("  {name:<10}{}", in_a_row(row))),
                );
            }
            Value::Object(members) => {
                lines.push(name.clone());
                lines.extend(
                    members
                        .iter()
                        .map(|(name, value)| format!("  {name:<28}{}", short(value))),
                );
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                lines.push(format!("{name:<30}{}", short(value)));
            }
        }
    }
    lines.join("\n")
}

fn in_a_row(row: &Value) -> String {
    let cells = row.as_object().into_iter().flatten();
    let cells = cells.map(|(name, value)| format!("{name} {:>9}", short(value)));
    cells.collect::<Vec<_>>().join("  ")
}

fn short(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            if number.abs() >= 100.0 {
                format!("{number:.0}")
            } else {
                format!("{number:.2}")
            }
        }
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_number_of_a_report_is_in_its_text() {
        let report = json!({
            "request_type": "OCR",
            "jobs_per_second": 567.3,
            "times_ms": { "accept": { "count": 5, "p50": 1.234 } },
            "host": { "idle_mb": 51.0 },
        });
        let text = text(&report);
        for shown in [
            "OCR",
            "567",
            "accept",
            "count         5",
            "p50      1.23",
            "51.00",
        ] {
            assert!(text.contains(shown), "{shown} in {text}");
        }
    }
}
