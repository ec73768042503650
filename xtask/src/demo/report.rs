//! What a demo run brought to light, and whether it is what is known of the document.

use super::api::Job;
use super::artifact::Answer;
use super::compare;

/// The highest share of wrong characters that passes; the document is clean enough for far less.
const ERROR_RATE_LIMIT: f64 = 0.02;

/// A finished run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) job: Job,
    /// Each step's id and last state.
    pub(super) steps: Vec<(String, String)>,
    /// The state that the second step was in when the host was killed.
    pub(super) killed_in: String,
    /// The text that was recognised, pages in order.
    pub(super) recognised: String,
    pub(super) answer: Answer,
}

impl Report {
    /// Everything that is not as it has to be; empty when the run was right. `known` is the document's text.
    pub(super) fn findings(&self, known: &str, expected_answer: &str) -> Vec<String> {
        let mut findings = Vec::new();
        if self.job.state != "SUCCEEDED" {
            findings.push(format!("the job ended in {}", self.job.state));
        }
        for (id, state) in self.steps.iter().filter(|(_, state)| state != "SUCCEEDED") {
            findings.push(format!("step {id} ended in {state}"));
        }
        if !matches!(self.killed_in.as_str(), "AWAITING_ACK" | "IN_PROGRESS") {
            findings.push(format!(
                "the host was killed too late: embedding was {}",
                self.killed_in
            ));
        }
        let rate = compare::character_error_rate(known, &self.recognised);
        if rate > ERROR_RATE_LIMIT {
            findings.push(format!(
                "{:.1} % of the recognised characters are wrong",
                rate * 100.0
            ));
        }
        if !self.answer.text.contains(expected_answer) {
            findings.push(format!(
                "the answer does not hold {expected_answer}: {}",
                self.answer.text
            ));
        }
        let page = compare::squeeze(&self.recognised);
        let quotes = self
            .answer
            .passages
            .iter()
            .map(|passage| compare::squeeze(&passage.text));
        for quote in quotes.filter(|quote| !page.contains(quote.as_str())) {
            findings.push(format!(
                "the answer quotes what is not on the page: {quote}"
            ));
        }
        if self.answer.passages.is_empty() {
            findings.push("the answer names no passage that it rests on".to_owned());
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::super::artifact::Passage;
    use super::*;

    const KNOWN: &str = "INVOICE\nDue date: 15 December 2026\nTotal due: EUR 1,284.50\nThank you.";

    fn answer(text: &str) -> Answer {
        let passage = Passage {
            text: text.to_owned(),
            page: Some(2),
            char_start: 0,
            char_end: 23,
            score: Some(0.6),
        };
        Answer {
            kind: "extractive".to_owned(),
            text: text.to_owned(),
            passages: vec![passage],
        }
    }

    fn right() -> Report {
        let done = |id: &str| (id.to_owned(), "SUCCEEDED".to_owned());
        Report {
            job: Job {
                state: "SUCCEEDED".to_owned(),
                error_code: None,
                error_message: None,
            },
            steps: vec![done("ocr"), done("embedding"), done("sis")],
            killed_in: "IN_PROGRESS".to_owned(),
            recognised: KNOWN.replace('\n', "\n\n"),
            answer: answer("Total due: EUR 1,284.50"),
        }
    }

    #[test]
    fn a_right_run_has_no_findings() {
        assert_eq!(right().findings(KNOWN, "1,284.50"), Vec::<String>::new());
    }

    #[test]
    fn a_misread_page_is_found() {
        let report = Report {
            recognised: KNOWN.replace('e', "c"),
            ..right()
        };
        assert!(report.findings(KNOWN, "1,284.50")[0].contains("characters are wrong"));
    }

    #[test]
    fn an_answer_that_is_wrong_or_not_on_the_page_is_found() {
        let wrong = Report {
            answer: answer("Due date: 15 December 2026"),
            ..right()
        };
        assert_eq!(wrong.findings(KNOWN, "1,284.50").len(), 1);
        let made_up = Report {
            answer: answer("The total is EUR 1,284.50"),
            ..right()
        };
        assert!(made_up.findings(KNOWN, "1,284.50")[0].contains("not on the page"));
        let mut bare = right();
        bare.answer.passages.clear();
        assert!(bare.findings(KNOWN, "1,284.50")[0].contains("no passage"));
    }

    #[test]
    fn a_crash_that_came_too_late_proves_nothing() {
        let report = Report {
            killed_in: "SUCCEEDED".to_owned(),
            ..right()
        };
        assert!(report.findings(KNOWN, "1,284.50")[0].contains("too late"));
    }

    #[test]
    fn a_job_and_a_step_that_failed_are_both_named() {
        let mut report = right();
        report.job.state = "FAILED_FINAL".to_owned();
        report.steps[1].1 = "FAILED_FINAL".to_owned();
        assert_eq!(report.findings(KNOWN, "1,284.50").len(), 2);
    }
}
