//! Findings about a configuration: where, what was found, what would be right; printed as compilers do.

use std::fmt::{self, Display};
use std::ops::Range;

/// The file that findings point into.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) file: String,
    pub(super) text: String,
}

impl Source {
    /// A finding at a range of bytes.
    pub(super) fn finding(
        &self,
        span: Range<usize>,
        key: impl Display,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) -> Finding {
        Finding {
            file: self.file.clone(),
            place: Some(self.place(span)),
            key: key.to_string(),
            found: found.into(),
            hint: hint.into(),
        }
    }

    /// A finding about a key that the file leaves at its default.
    pub(super) fn finding_at_no_line(&self, key: impl Display, found: String, hint: String) -> Finding {
        Finding { file: self.file.clone(), place: None, key: key.to_string(), found, hint }
    }

    /// Line of the first byte of a range.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.place(span.clone()).line
    }

    fn place(&self, span: Range<usize>) -> Place {
        let start = self.boundary(span.start);
        let end = self.boundary(span.end).max(start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = self.text[line_start..].find('\n').map_or(self.text.len(), |length| line_start + length);
        Place {
            line: self.text[..start].matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            width: self.text[start..end.min(line_end).max(start)].chars().count().max(1),
            text: self.text[line_start..line_end.max(start)].trim_end().to_owned(),
        }
    }

    fn boundary(&self, index: usize) -> usize {
        (0..=index.min(self.text.len())).rev().find(|&i| self.text.is_char_boundary(i)).unwrap_or(0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    line: usize,
    column: usize,
    width: usize,
    text: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    file: String,
    place: Option<Place>,
    key: String,
    found: String,
    hint: String,
}

impl Finding {
    /// A finding about the file as a whole.
    pub(super) fn of_file(file: String, found: String) -> Self {
        let hint = "give the path of a levee.toml that can be read".to_owned();
        Finding { file, place: None, key: String::new(), found, hint }
    }

    /// Line in the file, from 1; 0 for the file as a whole.
    pub fn line(&self) -> usize {
        self.place.as_ref().map_or(0, |place| place.line)
    }

    /// Column in the line, from 1; 0 for the file as a whole.
    pub fn column(&self) -> usize {
        self.place.as_ref().map_or(0, |place| place.column)
    }

    /// The dotted path of the key; empty where there is none.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What was found.
    pub fn found(&self) -> &str {
        &self.found
    }

    /// What would be right.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { file, place, key, found, hint } = self;
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        let Some(place) = place else {
            return write!(f, "{file}: {key}{found}\n      | {hint}");
        };
        let Place { line, column, width, text } = place;
        // Tabs stay tabs, so that the mark stands under what it marks however wide they are shown.
        let indent: String = text.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
        writeln!(f, "{file}:{line}:{column}: {key}{found}")?;
        writeln!(f, "{line:>5} | {text}")?;
        write!(f, "      | {indent:<before$}{mark} {hint}", before = column - 1, mark = "^".repeat(*width))
    }
}

/// One finding or more, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Diagnostics(Vec<Finding>);

impl Diagnostics {
    /// `Ok` where there are no findings.
    pub(super) fn none_or(mut findings: Vec<Finding>) -> Result<(), Diagnostics> {
        findings.sort_by_key(|finding| (finding.line(), finding.column()));
        if findings.is_empty() { Ok(()) } else { Err(Diagnostics(findings)) }
    }

    /// The findings.
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }
}

impl From<Finding> for Diagnostics {
    fn from(finding: Finding) -> Self {
        Diagnostics(vec![finding])
    }
}

impl Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{finding}")?;
        }
        Ok(())
    }
}
