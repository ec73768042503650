//! Documents must not name files that are gone: relative links, and paths in code spans that look like source files.

use super::Finding;

/// Folders whose files a document may name in a code span; the rest may be build output or an example.
const FOLDERS: [&str; 7] = [
    "host/",
    "platform/",
    "plugins/",
    "docs/",
    "wit/",
    "tests/",
    "xtask/",
];
const EXTENSIONS: [&str; 8] = [".rs", ".md", ".json", ".toml", ".wit", ".py", ".sql", ".sh"];

/// Checks one Markdown document. `linked` says whether a link's target exists, seen from the document; `rooted`
/// whether a path does, seen from the root.
pub(super) fn check(
    file: &str,
    text: &str,
    linked: impl Fn(&str) -> bool,
    rooted: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        let place = format!("{file}:{}", number + 1);
        let (prose, spans) = split_code(line);
        for target in link_targets(&prose) {
            if !linked(target) {
                let what = format!("links to {target}, which is not there");
                findings.push(Finding::error(
                    &place,
                    what,
                    "name the file's present place, or drop the link",
                ));
            }
        }
        for path in spans.into_iter().filter(|span| names_a_file(span)) {
            if !rooted(path) {
                let what = format!("names {path}, which is not there");
                findings.push(Finding::error(
                    &place,
                    what,
                    "name the file's present place, or drop it",
                ));
            }
        }
    }
    findings
}

/// The line without its code spans, and the spans.
fn split_code(line: &str) -> (String, Vec<&str>) {
    let mut prose = String::new();
    let mut spans = Vec::new();
    for (index, part) in line.split('`').enumerate() {
        if index % 2 == 0 {
            prose.push_str(part);
        } else {
            spans.push(part);
        }
    }
    (prose, spans)
}

/// The targets of inline links and images that point into the repository, without their anchors.
fn link_targets(prose: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    for part in prose.split("](").skip(1) {
        let Some(end) = part.find([')', ' ']) else {
            continue;
        };
        let target = part[..end].split('#').next().unwrap_or("");
        let elsewhere = target.contains("://") || target.starts_with("mailto:");
        if !target.is_empty() && !elsewhere {
            targets.push(target);
        }
    }
    targets
}

fn names_a_file(span: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    span.chars().all(plain)
        && FOLDERS.iter().any(|folder| span.starts_with(folder))
        && EXTENSIONS.iter().any(|extension| span.ends_with(extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let there = |path: &str| path == "docs/there.md" || path == "there.md";
        check("a.md", text, there, there)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_link_to_a_file_that_is_gone_is_found_with_its_line() {
        let found = lines("[a](there.md)\n\n[b](gone.md#part) and ![c](also-gone.png \"title\")");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("a.md:3: links to gone.md,"),
            "{found:?}"
        );
        assert!(found[1].contains("also-gone.png"), "{found:?}");
    }

    #[test]
    fn addresses_anchors_and_code_blocks_are_left_alone() {
        assert!(lines("[a](https://example.org/x) [b](#part) [c](there.md#part)").is_empty());
        assert!(lines("```\n[a](gone.md)\n```").is_empty());
        assert!(lines("`[a](gone.md)`").is_empty());
    }

    #[test]
    fn a_source_file_named_in_a_code_span_must_exist() {
        assert!(lines("see `docs/there.md` and `registry/registry.json`").is_empty());
        assert_eq!(lines("see `host/domain/src/gone.rs`").len(), 1);
        assert!(lines("`docs/<name>.md`, `tests/*.rs`, `host/backends/`").is_empty());
    }
}
