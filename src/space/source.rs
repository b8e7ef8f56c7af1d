//! Where things were written: the file, the `--set` overrides, and byte spans in them.

use super::error::{MOST_ERRORS, Snippet, SpaceError};

/// A byte range in one of the [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    /// 0 for the file, else the number of the `--set`, from 1.
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// The very beginning of the file, for what is missing altogether.
    pub const TOP: Span = Span { source: 0, start: 0, end: 0 };

    pub fn new(source: usize, range: std::ops::Range<usize>) -> Span {
        Span { source, start: range.start, end: range.end }
    }

    /// Whether it was written on the command line.
    pub fn is_override(&self) -> bool {
        self.source > 0
    }
}

/// One text that was parsed.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// How errors name it.
    pub name: String,
    pub text: String,
}

impl Source {
    /// Line and column of a byte, both from 1, the column in characters.
    pub fn line_column(&self, byte: usize) -> (usize, usize) {
        let mut byte = byte.min(self.text.len());
        while !self.text.is_char_boundary(byte) {
            byte -= 1;
        }
        let before = &self.text[..byte];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The text of a line, from 1.
    pub fn line(&self, line: usize) -> &str {
        self.text.split('\n').nth(line - 1).unwrap_or("").trim_end_matches('\r')
    }
}

/// The file and the overrides, and what was found wrong in them.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The file first, then each `--set`.
    pub all: Vec<Source>,
    errors: Vec<(Span, SpaceError)>,
    warnings: Vec<(Span, SpaceError)>,
}

/// What is wrong and what to do, without its place.
pub(crate) struct Finding {
    pub what: String,
    pub note: String,
    pub remedy: String,
}

impl Finding {
    pub fn new(what: impl Into<String>, note: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { what: what.into(), note: note.into(), remedy: remedy.into() }
    }
}

impl Sources {
    pub fn new(file: Source) -> Sources {
        Sources { all: vec![file], errors: Vec::new(), warnings: Vec::new() }
    }

    /// Records an error at a place; those after the first [`MOST_ERRORS`] are one too many to read,
    /// and to locate.
    pub fn error(&mut self, span: Span, path: &str, finding: Finding) {
        if self.errors.len() == MOST_ERRORS {
            return;
        }
        let error = self.located(span, path, finding);
        self.errors.push((span, error));
    }

    /// Records a warning at a place.
    pub fn warn(&mut self, span: Span, path: &str, finding: Finding) {
        let warning = self.located(span, path, finding);
        self.warnings.push((span, warning));
    }

    /// How many errors were recorded so far.
    pub fn error_count(&self) -> usize {
        self.errors.len()
    }

    /// The errors and the warnings, each in the order of the text; equal ones once.
    pub fn finish(mut self) -> (Vec<SpaceError>, Vec<SpaceError>) {
        let in_order = |found: &mut Vec<(Span, SpaceError)>| {
            found.sort_by_key(|(span, _)| (span.source, span.start));
            let mut out: Vec<SpaceError> = found.drain(..).map(|(_, e)| e).collect();
            out.dedup();
            out
        };
        (in_order(&mut self.errors), in_order(&mut self.warnings))
    }

    fn located(&self, span: Span, path: &str, finding: Finding) -> SpaceError {
        let source = &self.all[span.source];
        let (line, column) = source.line_column(span.start);
        let text = source.line(line);
        let (end_line, end_column) = source.line_column(span.end);
        let rest = text.chars().count() + 1 - (column.min(text.chars().count() + 1));
        let width = if end_line == line { end_column.saturating_sub(column) } else { rest };
        SpaceError {
            file: source.name.clone(),
            line,
            column,
            path: path.into(),
            what: finding.what,
            note: finding.note,
            remedy: finding.remedy,
            snippet: (span != Span::TOP).then(|| Snippet::new(text, column, width)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let source = Source { name: "x".into(), text: "a = \"é\"\nb\u{1F980}c".into() };
        assert_eq!(source.line_column(0), (1, 1));
        assert_eq!(source.line_column(7), (1, 7), "after the two bytes of é");
        assert_eq!(source.line_column(9), (2, 1));
        assert_eq!(source.line_column(14), (2, 3));
        assert_eq!(source.line_column(12), (2, 2), "inside a character is at its beginning");
        assert_eq!(source.line_column(999), (2, 4));
    }

    #[test]
    fn the_end_of_the_text_is_a_place() {
        let mut sources = Sources::new(Source { name: "x".into(), text: "a = ".into() });
        sources.error(Span::new(0, 4..4), "a", Finding::new("no value", "", ""));
        let (errors, _) = sources.finish();
        assert_eq!((errors[0].line, errors[0].column), (1, 5));
        assert!(errors[0].to_string().contains("1 | a = \n  |     ^\n"), "{}", errors[0]);
    }

    #[test]
    fn long_lines_are_shown_around_the_place() {
        let text = format!("{}X{}", "a".repeat(1000), "b".repeat(1000));
        let mut sources = Sources::new(Source { name: "x".into(), text });
        sources.error(Span::new(0, 1000..1001), "k", Finding::new("bad", "", ""));
        let (errors, _) = sources.finish();
        let snippet = errors[0].snippet.as_ref().unwrap();
        assert_eq!((errors[0].column, snippet.width), (1001, 1));
        assert_eq!(snippet.text.chars().nth(snippet.indent), Some('X'));
        assert!(snippet.text.len() <= 160);
    }

    #[test]
    fn a_span_over_several_lines_is_underlined_on_its_first() {
        let text = "k = [\n 1,\n]".to_owned();
        let mut sources = Sources::new(Source { name: "x".into(), text });
        sources.error(Span::new(0, 4..11), "k", Finding::new("bad", "", ""));
        let (errors, _) = sources.finish();
        assert_eq!(errors[0].snippet, Some(Snippet { text: "k = [".into(), indent: 4, width: 1 }));
    }
}
