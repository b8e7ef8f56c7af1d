//! CSV by RFC 4180, safe to open in a spreadsheet.

/// A CSV document under construction; every row has the header's number of cells.
#[derive(Clone, Debug)]
pub struct Csv {
    text: String,
    columns: usize,
}

impl Csv {
    /// A document with a header row.
    pub fn new<'a>(header: impl IntoIterator<Item = &'a str>) -> Csv {
        let cells: Vec<String> = header.into_iter().map(text_cell).collect();
        let mut csv = Csv { text: String::new(), columns: cells.len() };
        csv.row(cells);
        csv
    }

    /// Appends a row of cells made by [`Csv::text`] or [`Csv::number`].
    ///
    /// # Panics
    /// When the number of cells is not the header's: a mistake of the calling code.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.columns, "a CSV row has as many cells as the header");
        self.text.push_str(&cells.join(","));
        self.text.push('\n');
    }

    /// A text cell: quoted where RFC 4180 asks for it, and with a leading apostrophe where a
    /// spreadsheet would otherwise run it as a formula.
    pub fn text(text: &str) -> String {
        text_cell(text)
    }

    /// A number in the shortest form that reads back the same; empty for NaN.
    pub fn number(value: f64) -> String {
        number_cell(value)
    }

    /// The document.
    pub fn finish(self) -> String {
        self.text
    }
}

/// A text cell: quoted where RFC 4180 asks for it, and with a leading apostrophe where a spreadsheet
/// would otherwise run it as a formula.
pub(crate) fn text_cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_string() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// A number in the shortest form that reads back the same; empty for NaN.
pub(crate) fn number_cell(value: f64) -> String {
    if value.is_nan() { String::new() } else { format!("{value}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_one_inert_cell() {
        assert_eq!(text_cell("plain"), "plain");
        assert_eq!(text_cell("a,b"), "\"a,b\"");
        assert_eq!(text_cell("say \"hi\"\r\n"), "\"say \"\"hi\"\"\r\n\"");
        assert_eq!(text_cell("=HYPERLINK(\"x\")"), "\"'=HYPERLINK(\"\"x\"\")\"");
        for formula in ["+1", "-1", "@SUM(A1)", "\tx"] {
            assert!(text_cell(formula).starts_with('\''), "{formula:?}");
        }
    }

    #[test]
    fn numbers_read_back_the_same() {
        for value in [0.1 + 0.2, -1.5e-12, 123_456_789.25, f64::MAX] {
            assert_eq!(number_cell(value).parse::<f64>().unwrap(), value);
        }
        assert_eq!(number_cell(f64::NAN), "");
    }
}
