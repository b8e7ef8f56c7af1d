//! From text to steps.

use std::ops::Range;

use syn::spanned::Spanned;
use syn::{BinOp, Expr, Lit, UnOp};

use super::program::Op;
use super::terms::{TERMS, Term};
use super::{FUNCTIONS, Formula, FormulaError, FormulaOp};
use crate::catalog::nearest;

/// Longest formula, bytes: far beyond what anybody writes, and bounds how deeply it can be nested.
const LONGEST: usize = 2000;
/// Deepest nesting of parentheses.
const DEEPEST: usize = 100;

pub(super) fn parse(text: &str) -> Result<Formula, FormulaError> {
    check_size(text)?;
    let parsed = syn::parse_str::<Expr>(text);
    let result = match parsed {
        Ok(expr) => {
            let mut reader = Reader { text, formula: Formula { ops: Vec::new(), names: Vec::new() } };
            reader.read(&expr).map(|()| reader.formula)
        }
        Err(error) => {
            let at = clip(error.span().byte_range(), text);
            let message = error.to_string();
            let what = match text.trim() {
                "" => "the formula is empty".to_owned(),
                // Statements and closures: the parser's advice is not for users.
                _ if message.starts_with("unsupported expression") => "this is no part of a formula".to_owned(),
                _ => message,
            };
            fail(at, what, "a formula is numbers, names, + - * / %, comparisons, && || !, and functions like max(a, b)")
        }
    };
    // The places of this text are not needed any more.
    proc_macro2::extra::invalidate_current_thread_spans();
    let formula = result?;
    if !formula.terms().iter().any(|term| term.is_of_worker()) {
        let named = TERMS.iter().filter(|t| t.of_worker).map(|t| format!("`{}`", t.name)).collect::<Vec<_>>();
        let remedy = format!("use at least one of {}", named.join(", "));
        return fail(0..text.len(), "the formula gives every worker the same cost".to_owned(), &remedy);
    }
    Ok(formula)
}

fn check_size(text: &str) -> Result<(), FormulaError> {
    if text.len() > LONGEST {
        let what = format!("the formula has {} bytes, more than {LONGEST}", text.len());
        return fail(LONGEST..text.len(), what, "shorten it");
    }
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            let what = format!("parentheses are nested deeper than {DEEPEST}");
            return fail(at..at + 1, what, "simplify it");
        }
    }
    Ok(())
}

fn fail<T>(at: Range<usize>, what: String, remedy: &str) -> Result<T, FormulaError> {
    Err(FormulaError { at, what, remedy: remedy.to_owned() })
}

/// A place within the text; what lies beyond is its end.
fn clip(at: Range<usize>, text: &str) -> Range<usize> {
    let start = at.start.min(text.len());
    start..at.end.clamp(start, text.len())
}

struct Reader<'a> {
    text: &'a str,
    formula: Formula,
}

impl Reader<'_> {
    fn fail<T>(&self, at: &impl Spanned, what: impl Into<String>, remedy: &str) -> Result<T, FormulaError> {
        fail(clip(at.span().byte_range(), self.text), what.into(), remedy)
    }

    fn push(&mut self, op: Op) {
        self.formula.ops.push(FormulaOp::Op(op));
    }

    fn read(&mut self, expr: &Expr) -> Result<(), FormulaError> {
        match expr {
            Expr::Paren(inner) => self.read(&inner.expr),
            Expr::Group(inner) => self.read(&inner.expr),
            Expr::Lit(lit) => self.number(&lit.lit),
            Expr::Path(path) => self.name(path),
            Expr::Unary(unary) => {
                let op = match unary.op {
                    UnOp::Neg(_) => Op::Neg,
                    UnOp::Not(_) => Op::Not,
                    _ => return self.fail(&unary.op, "`*` needs something before it", "write a * b"),
                };
                self.read(&unary.expr)?;
                self.push(op);
                Ok(())
            }
            Expr::Binary(binary) => {
                let op = self.operator(&binary.op)?;
                self.read(&binary.left)?;
                self.read(&binary.right)?;
                self.push(op);
                Ok(())
            }
            Expr::Call(call) => self.call(call),
            other => {
                self.fail(other, "this is no part of a formula", "write it with operators, or with select(c, a, b)")
            }
        }
    }

    fn operator(&self, op: &BinOp) -> Result<Op, FormulaError> {
        Ok(match op {
            BinOp::Add(_) => Op::Add,
            BinOp::Sub(_) => Op::Sub,
            BinOp::Mul(_) => Op::Mul,
            BinOp::Div(_) => Op::Div,
            BinOp::Rem(_) => Op::Rem,
            BinOp::And(_) => Op::And,
            BinOp::Or(_) => Op::Or,
            BinOp::Lt(_) => Op::Lt,
            BinOp::Le(_) => Op::Le,
            BinOp::Gt(_) => Op::Gt,
            BinOp::Ge(_) => Op::Ge,
            BinOp::Eq(_) => Op::Eq,
            BinOp::Ne(_) => Op::Ne,
            BinOp::BitXor(_) => return self.fail(op, "`^` is no power here", "write pow(a, b)"),
            BinOp::BitAnd(_) => return self.fail(op, "`&` is no operator of a formula", "write &&"),
            BinOp::BitOr(_) => return self.fail(op, "`|` is no operator of a formula", "write ||"),
            other => {
                return self.fail(
                    other,
                    "this is no operator of a formula",
                    "the operators are + - * / % < <= > >= == != && ||",
                );
            }
        })
    }

    fn number(&mut self, lit: &Lit) -> Result<(), FormulaError> {
        let (digits, suffix) = match lit {
            Lit::Int(v) => (v.base10_digits(), v.suffix()),
            Lit::Float(v) => (v.base10_digits(), v.suffix()),
            other => return self.fail(other, "this is no number", "write a number such as 0.5"),
        };
        if !suffix.is_empty() {
            let what = format!("`{suffix}` stands right behind a number");
            return self.fail(lit, what, &format!("to multiply, write {digits} * {suffix}"));
        }
        match digits.parse::<f64>() {
            Ok(v) if v.is_finite() => {
                self.push(Op::Number(v));
                Ok(())
            }
            _ => self.fail(lit, "this number is too large", "write a number below 1e308"),
        }
    }

    fn name(&mut self, path: &syn::ExprPath) -> Result<(), FormulaError> {
        let Some(ident) = path.path.get_ident() else {
            return self.fail(path, "this is no name", "names are letters, digits and `_`");
        };
        let name = ident.to_string();
        if let Some(term) = Term::named(&name) {
            self.push(Op::Term(term));
            return Ok(());
        }
        if FUNCTIONS.iter().any(|f| f.0 == name) {
            let what = format!("`{name}` is a function");
            return self.fail(path, what, &format!("give it arguments: {name}(..)"));
        }
        let names = &mut self.formula.names;
        let at = names.iter().position(|n| n.0 == name).unwrap_or_else(|| {
            names.push((name, clip(ident.span().byte_range(), self.text)));
            names.len() - 1
        });
        self.formula.ops.push(FormulaOp::Name(at));
        Ok(())
    }

    fn call(&mut self, call: &syn::ExprCall) -> Result<(), FormulaError> {
        let name = match &*call.func {
            Expr::Path(path) => path.path.get_ident().map(ToString::to_string),
            _ => None,
        };
        let Some(name) = name else {
            return self.fail(&call.func, "only functions can be called", "to multiply, write a * (b)");
        };
        let Some(&(function, arity, _)) = FUNCTIONS.iter().find(|f| f.0 == name) else {
            if Term::named(&name).is_some() {
                let what = format!("`{name}` is a term, not a function");
                return self.fail(&call.func, what, &format!("to multiply, write {name} * (..)"));
            }
            let near = nearest(&name, FUNCTIONS.iter().map(|f| f.0)).unwrap_or("max");
            let all: Vec<&str> = FUNCTIONS.iter().map(|f| f.0).collect();
            let what = format!("there is no function `{name}`");
            return self.fail(
                &call.func,
                what,
                &format!("did you mean `{near}`? The functions are {}", all.join(", ")),
            );
        };
        let given = call.args.len();
        let fits = if arity == usize::MAX { given >= 2 } else { given == arity };
        if !fits {
            let wants = match arity {
                usize::MAX => "two arguments or more".to_owned(),
                1 => "one argument".to_owned(),
                n => format!("{n} arguments"),
            };
            return self.fail(call, format!("`{function}` takes {wants}, not {given}"), "give it as many as it takes");
        }
        let op = match function {
            "min" => Op::Min,
            "max" => Op::Max,
            "abs" => Op::Abs,
            "sqrt" => Op::Sqrt,
            "exp" => Op::Exp,
            "ln" => Op::Ln,
            "floor" => Op::Floor,
            "ceil" => Op::Ceil,
            "pow" => Op::Pow,
            "select" => Op::Select,
            other => return self.fail(&call.func, format!("`{other}` cannot be computed"), "leave it out"),
        };
        for (at, argument) in call.args.iter().enumerate() {
            self.read(argument)?;
            if arity == usize::MAX && at > 0 {
                self.push(op);
            }
        }
        if arity != usize::MAX {
            self.push(op);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::twin::router::facts::Facts;

    fn facts() -> Facts {
        Facts {
            candidates: 2,
            prompt_blocks: 8.0,
            active_requests: vec![3.0, 5.0],
            overlap_blocks: vec![0.0, 2.0],
            ..Facts::default()
        }
    }

    fn evaluate(text: &str) -> Vec<f64> {
        let formula = Formula::parse(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        let mut program = formula.bind(|name| (name == "w").then_some(0.5)).unwrap();
        let mut values = Vec::new();
        program.evaluate(&facts(), &mut values);
        values
    }

    #[test]
    fn formulas_mean_what_they_say() {
        for (text, expected) in [
            ("active_requests", [3.0, 5.0]),
            ("1 + 2 * active_requests", [7.0, 11.0]),
            ("-active_requests - -2", [-1.0, -3.0]),
            ("w * active_requests / 2", [0.75, 1.25]),
            ("max(0, min(active_requests, 4), 1)", [3.0, 4.0]),
            ("request_blocks - overlap_blocks", [8.0, 6.0]),
            ("select(overlap_blocks > 1, 10, active_requests)", [3.0, 10.0]),
            ("(active_requests >= 5 || overlap_blocks == 0) && !(active_requests == 3)", [0.0, 1.0]),
            ("pow(active_requests, 2) % 7", [2.0, 4.0]),
            ("floor(sqrt(active_requests)) + ceil(abs(0 - w)) + 1_000e0", [1002.0, 1003.0]),
            ("ln(exp(active_requests))", [3.0, 5.0]),
            ("ln(overlap_blocks - 1)", [f64::INFINITY, 0.0]),
        ] {
            assert_eq!(evaluate(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (text, at, what, remedy) in [
            ("", "", "the formula is empty", "numbers, names"),
            ("active_requests + ", "", "unexpected end", "numbers, names"),
            ("active_requests + * 2", "*", "needs something before", "a * b"),
            ("(active_requests", "", "", "numbers, names"),
            ("active_requests 2", "2", "unexpected token", "numbers, names"),
            ("2active_requests", "2active_requests", "right behind a number", "2 * active_requests"),
            ("active_requests ^ 2", "^", "no power", "pow(a, b)"),
            ("maxx(active_requests, 1)", "maxx", "no function `maxx`", "did you mean `max`"),
            ("max(active_requests)", "max(active_requests)", "two arguments or more, not 1", ""),
            ("active_requests(2)", "active_requests", "is a term", "active_requests * (..)"),
            ("1 + max", "max", "is a function", "max(..)"),
            ("active_requests + \"2\"", "\"2\"", "no number", "0.5"),
            ("active_requests = 2", "=", "", ""),
            ("request_blocks * 2", "request_blocks * 2", "every worker the same cost", "`prefill_blocks`"),
            ("active_requests + 1e999", "1e999", "too large", ""),
            ("active_requests.abs()", "active_requests.abs()", "no part of a formula", "select"),
            ("active_requests + é§", "", "", ""),
        ] {
            let error = Formula::parse(text).expect_err(text);
            assert!(error.what.contains(what) && error.remedy.contains(remedy), "{text}: {error:?}");
            assert!(at.is_empty() || &text[error.at.clone()] == at, "{text}: {error:?}");
        }
    }

    #[test]
    fn names_that_are_no_terms_are_left_open_with_their_place() {
        let formula = Formula::parse("a * active_requests + bb * overlap_blocks + a").unwrap();
        assert_eq!(formula.names(), [("a".to_owned(), 0..1), ("bb".to_owned(), 22..24)]);
        assert_eq!(formula.terms(), [Term::OverlapBlocks, Term::ActiveRequests]);
        assert_eq!(formula.bind(|name| (name == "a").then_some(1.0)), Err("bb".to_owned()));
    }

    #[test]
    fn hostile_depth_is_refused() {
        let deep = format!("{}active_requests{}", "(".repeat(500), ")".repeat(500));
        assert!(Formula::parse(&deep).unwrap_err().what.contains("nested"));
        assert!(Formula::parse(&"-".repeat(5000)).unwrap_err().what.contains("5000 bytes"));
        let minus = format!("{}active_requests", "-".repeat(1900));
        assert_eq!(evaluate(&minus), [3.0, 5.0]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~]{0,60}|([a-z_]{1,4}|[-+*/%<>=!&|(),. 0-9]){0,30}|\\PC{0,20}") {
            if let Err(error) = Formula::parse(&text) {
                prop_assert!(text.get(error.at.clone()).is_some(), "{error:?}");
            }
        }
    }
}
