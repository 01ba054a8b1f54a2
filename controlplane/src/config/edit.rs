//! Changes of single keys in the text of a file. Comments, order and whatever else it has stay. Text in, text out; whether the
//! result is a configuration is for [`parse`](super::parse) to say.

use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

/// A key to set, or to take out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Dotted: `groups.web.incoming.udp_pps`, `bgp.engines[0].name`.
    pub key: String,
    /// As it stands in a file; what is not TOML is a text. None: the key goes.
    pub value: Option<String>,
}

/// Why an edit cannot be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key is not one.
    #[error("\"{0}\" is not a key; write it as in detection.ban_time_s or bgp.engines[0].name")]
    Key(String),
    /// There is nothing to take out.
    #[error("{0}: the file does not have it")]
    Missing(String),
    /// It lies within what is no section.
    #[error("{0}: `{1}` is not a section")]
    NoSection(String, String),
    /// A section with a number is not there.
    #[error("{0}: there is no `{1}[{2}]`; add sections of such a list in the file")]
    NoElement(String, String, usize),
    /// The text is not TOML.
    #[error("the file is not TOML: {0}")]
    Text(String),
}

impl Edit {
    /// The text after the edit.
    ///
    /// # Errors
    /// [`Error`].
    pub fn apply(&self, text: &str) -> Result<String, Error> {
        let steps = steps(&self.key).ok_or_else(|| Error::Key(self.key.clone()))?;
        let mut document: DocumentMut =
            text.parse().map_err(|error: toml_edit::TomlError| Error::Text(error.to_string()))?;
        let value = self.value.as_deref().map(value);
        self.put(document.as_table_mut(), &steps, value)?;
        Ok(document.to_string())
    }

    fn put(&self, table: &mut dyn TableLike, steps: &[Step], value: Option<Value>) -> Result<(), Error> {
        let (step, rest) = (&steps[0], &steps[1..]);
        if rest.is_empty() && step.index.is_none() {
            return self.put_here(table, &step.name, value);
        }
        if !table.contains_key(&step.name) && step.index.is_none() && value.is_some() {
            let mut section = Table::new();
            // Its heading is written only where it has keys of its own.
            section.set_implicit(true);
            table.insert(&step.name, Item::Table(section));
        }
        let within = || Error::NoSection(self.key.clone(), step.name.clone());
        let missing = || Error::Missing(self.key.clone());
        let item = table.get_mut(&step.name);
        match (item, step.index) {
            (Some(item), None) => self.put(item.as_table_like_mut().ok_or_else(within)?, rest, value),
            (None, None) => Err(missing()),
            (_, Some(_)) if rest.is_empty() => Err(Error::Key(self.key.clone())),
            (item, Some(index)) => {
                let element = match item {
                    Some(Item::ArrayOfTables(tables)) => tables.get_mut(index).map(|table| table as &mut dyn TableLike),
                    Some(Item::Value(Value::Array(list))) => {
                        let table = list.get_mut(index).and_then(Value::as_inline_table_mut);
                        table.map(|table| table as &mut dyn TableLike)
                    }
                    _ => None,
                };
                let no_element = || Error::NoElement(self.key.clone(), step.name.clone(), index);
                self.put(element.ok_or_else(no_element)?, rest, value)
            }
        }
    }

    fn put_here(&self, table: &mut dyn TableLike, name: &str, value: Option<Value>) -> Result<(), Error> {
        let Some(mut value) = value else {
            return table.remove(name).map(drop).ok_or_else(|| Error::Missing(self.key.clone()));
        };
        match table.get_mut(name) {
            Some(Item::Value(old)) => {
                // What stands around the old value, such as a comment behind it, stays.
                *value.decor_mut() = old.decor().clone();
                *old = value;
            }
            _ => drop(table.insert(name, Item::Value(value))),
        }
        Ok(())
    }
}

/// A part of a key: a name, and perhaps a place in a list.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    name: String,
    index: Option<usize>,
}

fn steps(key: &str) -> Option<Vec<Step>> {
    key.split('.').map(step).collect()
}

fn step(text: &str) -> Option<Step> {
    let (name, index) = match text.split_once('[') {
        Some((name, rest)) => (name, Some(rest.strip_suffix(']')?.parse().ok()?)),
        None => (text, None),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    (!name.is_empty() && name.chars().all(is_name)).then(|| Step { name: name.to_owned(), index })
}

/// A value of TOML, or else a text: nobody wants to quote `debug` for the shell and for TOML.
fn value(text: &str) -> Value {
    text.parse().unwrap_or_else(|_| Value::from(text))
}
