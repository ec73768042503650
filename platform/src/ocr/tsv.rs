//! The table of words that both tesseract and pdftotext write.
//!
//! Columns: level, page, then three numbers that together name a line (in another order in each
//! program), word, left, top, width, height, confidence, text. Level 1 is a page, level 5 a word.

use super::engine::Word;

/// The words of one page, and the page's size when the table says it.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) size: Option<(f64, f64)>,
    pub(super) words: Vec<Word>,
}

/// Reads the rows of the first page in `text`. Rows of another shape are passed over: the table
/// adds to the text, and must not make a readable page fail.
pub(super) fn read(text: &str) -> Table {
    let mut table = Table::default();
    let mut line_key = None;
    let mut line = 0;
    for row in text.lines() {
        let columns: Vec<&str> = row.splitn(12, '\t').collect();
        let [
            level,
            _page,
            line_a,
            line_b,
            line_c,
            _word,
            left,
            top,
            width,
            height,
            sure,
            text,
        ] = columns[..]
        else {
            continue;
        };
        let numbers: Option<Vec<f64>> = [left, top, width, height, sure]
            .iter()
            .map(|n| n.parse().ok())
            .collect();
        let Some([left, top, width, height, confidence]) = numbers.as_deref() else {
            continue;
        };
        match level {
            "1" if table.size.is_some() => break,
            "1" => table.size = Some((*width, *height)),
            "5" if !text.trim().is_empty() => {
                let key = Some((line_a.to_owned(), line_b.to_owned(), line_c.to_owned()));
                if key != line_key {
                    line_key = key;
                    line += 1;
                }
                table.words.push(Word {
                    text: text.to_owned(),
                    bounds: [*left, *top, *width, *height],
                    confidence: confidence.clamp(0.0, 100.0),
                    line,
                });
            }
            _ => {}
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n";

    #[test]
    fn words_keep_their_line_box_and_confidence() {
        let rows = "1\t1\t0\t0\t0\t0\t0\t0\t1000\t400\t-1\t\n\
                    4\t1\t1\t1\t1\t0\t60\t68\t402\t38\t-1\t\n\
                    5\t1\t1\t1\t1\t1\t60\t68\t73\t30\t96.5\tThe\n\
                    5\t1\t1\t1\t1\t2\t149\t68\t104\t38\t95\t\"quick\n\
                    5\t1\t1\t1\t1\t3\t149\t68\t104\t38\t95\t \n\
                    5\t1\t1\t1\t2\t1\t60\t98\t73\t30\t120\tfox\n\
                    1\t2\t0\t0\t0\t0\t0\t0\t7\t7\t-1\t\n\
                    5\t2\t1\t1\t1\t1\t60\t68\t73\t30\t96.5\tnext page\n";
        let table = read(&format!("{HEAD}{rows}"));
        assert_eq!(table.size, Some((1000.0, 400.0)));
        let read: Vec<_> = table
            .words
            .iter()
            .map(|w| (w.text.as_str(), w.line, w.confidence))
            .collect();
        assert_eq!(
            read,
            [("The", 1, 96.5), ("\"quick", 1, 95.0), ("fox", 2, 100.0)]
        );
        assert_eq!(table.words[0].bounds, [60.0, 68.0, 73.0, 30.0]);
    }

    #[test]
    fn rows_of_another_shape_are_passed_over() {
        let table = read("no table\n5\t1\t1\n5\t1\t0\t0\t0\t0\tx\t0\t0\t0\t0\tword\n");
        assert!(table.size.is_none() && table.words.is_empty());
    }
}
