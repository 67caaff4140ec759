//! Every error and warning of one file, gathered while it is read, in the order of the file.

use std::cell::RefCell;
use std::fmt;

/// A place in the file, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column in characters.
    pub column: u64,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, if it has a place.
    pub at: Option<Position>,
    /// The key, with dots: `pools.web.timeout`; empty for the file itself.
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// What to write instead.
    pub fix: Option<String>,
}

/// Everything that is wrong with a file; never empty.
///
/// Prints one line each: `file:line:column key.path: reason; fix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    source: String,
    problems: Vec<Problem>,
}

impl Errors {
    /// A single problem of the file as a whole.
    pub(in crate::config) fn of_file(source: &str, reason: String) -> Self {
        let problem = Problem { at: None, path: String::new(), reason, fix: None };
        Self { source: source.to_owned(), problems: vec![problem] }
    }

    /// How many there are; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// One by one, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }
}

impl std::error::Error for Errors {}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            write!(f, "{end}{}", place(&self.source, problem.at))?;
            if !problem.path.is_empty() {
                write!(f, " {}", one_line(&problem.path))?;
            }
            write!(f, ": {}", one_line(&problem.reason))?;
            if let Some(fix) = &problem.fix {
                write!(f, "; {}", one_line(fix))?;
            }
        }
        Ok(())
    }
}

fn place(source: &str, at: Option<Position>) -> String {
    at.map_or_else(|| source.to_owned(), |at| format!("{source}:{}:{}", at.line, at.column))
}

/// Values of the file end up in messages: no control character of theirs may.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Why a value was refused, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Reason {
    /// Continues the sentence that the value begins: `is not a number`.
    pub(in crate::config) why: String,
    /// The remedy, if it is not plain from the reason.
    pub(in crate::config) fix: Option<String>,
}

impl Reason {
    /// Adds the remedy.
    pub(in crate::config) fn or(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

impl<T: Into<String>> From<T> for Reason {
    fn from(why: T) -> Self {
        Self { why: why.into(), fix: None }
    }
}

/// Gathers problems and warnings of one file.
#[derive(Debug)]
pub(in crate::config) struct Report {
    source: String,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<(Option<Position>, String)>>,
}

impl Report {
    pub(in crate::config) fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    pub(in crate::config) fn source(&self) -> &str {
        &self.source
    }

    pub(in crate::config) fn is_empty(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    pub(in crate::config) fn add(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub(in crate::config) fn refuse(&self, at: Position, path: &str, reason: impl Into<Reason>) {
        let Reason { why, fix } = reason.into();
        self.add(Problem { at: Some(at), path: path.to_owned(), reason: why, fix });
    }

    pub(in crate::config) fn warn(&self, at: Position, path: &str, text: &str) {
        let line =
            format!("{} {}", place(&self.source, Some(at)), one_line(&format!("{path}: {text}")));
        self.warnings.borrow_mut().push((Some(at), line));
    }

    /// The value and its warnings if nothing was wrong, else everything that was.
    pub(in crate::config) fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<String>), Errors> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.at);
        match value {
            Some(value) if problems.is_empty() => {
                let mut warnings = self.warnings.into_inner();
                warnings.sort_by_key(|(at, _)| *at);
                Ok((value, warnings.into_iter().map(|(_, line)| line).collect()))
            }
            // A value is only ever left out after a problem was reported.
            _ => Err(Errors { source: self.source, problems }),
        }
    }
}
