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
    /// Why that is wrong; may be empty.
    pub why: String,
    /// What to write instead.
    pub remedy: String,
    /// The source line, and how many of its characters from `column` on are meant.
    pub snippet: Option<(String, usize)>,
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
        if let Some((text, width)) = &self.snippet {
            // Tabs would put the caret elsewhere than the characters it is under.
            let shown = text.replace('\t', " ");
            writeln!(f, "{margin} |")?;
            writeln!(f, "{number} | {shown}")?;
            writeln!(f, "{margin} | {}{}", " ".repeat(self.column.saturating_sub(1)), "^".repeat((*width).max(1)))?;
        }
        if !self.path.is_empty() {
            writeln!(f, "{margin} = field: {}", self.path)?;
        }
        if !self.why.is_empty() {
            writeln!(f, "{margin} = why: {}", self.why)?;
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

/// Everything wrong with a search space, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceErrors(pub Vec<SpaceError>);

/// Most errors that are shown; a wrong kind of file has one per line.
const SHOWN: usize = 25;

impl fmt::Display for SpaceErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in self.0.iter().take(SHOWN) {
            writeln!(f, "{error}")?;
        }
        match self.0.len() {
            1 => write!(f, "1 error in the search space"),
            n if n <= SHOWN => write!(f, "{n} errors in the search space"),
            n => write!(f, "{n} errors in the search space, the first {SHOWN} shown"),
        }
    }
}

impl std::error::Error for SpaceErrors {}
