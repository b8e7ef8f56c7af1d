//! What is wrong with a search space: where, what, why, and what to write instead.

use std::fmt;

/// One thing wrong with a search space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceError {
    /// The file, or `--set` and its text.
    pub file: String,
    /// Line, from 1; 0 where no line is meant (the file could not be read).
    pub line: usize,
    /// Column in characters, from 1; 0 where no line is meant.
    pub column: usize,
    /// Dotted path of the field, such as `knobs.engine.max_num_seqs`; empty where no field is meant.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// Why that is wrong, or what the field means; may be empty.
    pub note: String,
    /// What to write instead.
    pub remedy: String,
    /// The source line, where there is one.
    pub snippet: Option<Snippet>,
}

/// A source line and the part of it that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// The line; of a long one, what is around the part that is meant.
    pub text: String,
    /// Characters before the part that is meant.
    pub indent: usize,
    /// Characters that are meant; at least 1.
    pub width: usize,
}

/// Most characters of a line that are shown, and how many of them before what is meant.
const LINE_SHOWN: usize = 160;
const LINE_BEFORE: usize = 60;

impl Snippet {
    /// The part of `line` of `width` characters from `column` (from 1) on.
    pub(super) fn new(line: &str, column: usize, width: usize) -> Snippet {
        let indent = column.saturating_sub(1);
        let skipped = if line.len() <= LINE_SHOWN { 0 } else { indent.saturating_sub(LINE_BEFORE) };
        // Tabs would put the caret elsewhere than the characters it is under.
        let text: String =
            line.chars().skip(skipped).take(LINE_SHOWN).map(|c| if c == '\t' { ' ' } else { c }).collect();
        let width = width.clamp(1, LINE_SHOWN - LINE_BEFORE);
        Snippet { text, indent: indent - skipped, width }
    }
}

impl SpaceError {
    fn render(&self, f: &mut fmt::Formatter<'_>, severity: &str) -> fmt::Result {
        writeln!(f, "{severity}: {}", self.what)?;
        let number = self.line.to_string();
        let margin = " ".repeat(if self.line == 0 { 1 } else { number.len() });
        if self.line == 0 {
            writeln!(f, "{margin}--> {}", self.file)?;
        } else {
            writeln!(f, "{margin}--> {}:{}:{}", self.file, self.line, self.column)?;
        }
        if let Some(Snippet { text, indent, width }) = &self.snippet {
            writeln!(f, "{margin} |")?;
            writeln!(f, "{number} | {text}")?;
            writeln!(f, "{margin} | {}{}", " ".repeat(*indent), "^".repeat(*width))?;
        }
        if !self.path.is_empty() {
            writeln!(f, "{margin} = field: {}", self.path)?;
        }
        if !self.note.is_empty() {
            writeln!(f, "{margin} = note: {}", self.note)?;
        }
        if !self.remedy.is_empty() {
            writeln!(f, "{margin} = help: {}", self.remedy)?;
        }
        Ok(())
    }

    /// The same, headed `warning` instead of `error`.
    pub fn as_warning(&self) -> impl fmt::Display + '_ {
        struct Warning<'a>(&'a SpaceError);
        impl fmt::Display for Warning<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.render(f, "warning")
            }
        }
        Warning(self)
    }
}

impl fmt::Display for SpaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.render(f, "error")
    }
}

impl std::error::Error for SpaceError {}

/// What is wrong with a search space, in the order of the file: everything, or the first hundred.
/// Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceErrors(pub Vec<SpaceError>);

/// Most errors that are collected: a file of another kind has one per line.
pub(super) const MOST_ERRORS: usize = 100;
/// Most errors that are shown.
const SHOWN: usize = 25;

impl fmt::Display for SpaceErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in self.0.iter().take(SHOWN) {
            writeln!(f, "{error}")?;
        }
        match self.0.len() {
            1 => write!(f, "1 error in the search space"),
            n if n <= SHOWN => write!(f, "{n} errors in the search space"),
            n if n < MOST_ERRORS => write!(f, "{n} errors in the search space, the first {SHOWN} shown"),
            n => write!(f, "{n} errors or more in the search space, the first {SHOWN} shown"),
        }
    }
}

impl std::error::Error for SpaceErrors {}
