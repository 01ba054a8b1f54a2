//! The shape of `--json`, of all programs: the names of the `.proto` file, enums as lowercase words, a rule as an object and
//! not as text, bytes in hex.

use serde::Serialize;
use serde_json::{Error, Map, Value};

use crate::v1::Direction;

/// A message as the JSON that people and scripts get.
///
/// # Errors
/// When it cannot be put into JSON.
pub fn shape(message: &impl Serialize) -> Result<Value, Error> {
    Ok(reshape(serde_json::to_value(message)?))
}

fn reshape(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(reshape).collect(),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| field(name, value)).collect::<Map<_, _>>())
        }
        other => other,
    }
}

fn field(name: String, value: Value) -> (String, Value) {
    match (name.as_str(), &value) {
        ("direction", Value::Number(number)) => (name, direction(number.as_i64())),
        // A rule that is no JSON, as a newer daemon might send, stays the text it is.
        ("flow_spec_json", Value::String(text)) => {
            ("flow_spec".to_owned(), serde_json::from_str(text).unwrap_or_else(|_| value.clone()))
        }
        ("data", Value::Array(bytes)) => {
            let digits = bytes.iter().filter_map(Value::as_u64).map(|byte| format!("{byte:02x}"));
            (name, digits.collect::<String>().into())
        }
        _ => (name, reshape(value)),
    }
}

fn direction(number: Option<i64>) -> Value {
    let known =
        number.and_then(|number| i32::try_from(number).ok()).and_then(|number| Direction::try_from(number).ok());
    Value::from(direction_word(known.unwrap_or_default()))
}

/// A direction in the word that people know.
pub fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Incoming => "incoming",
        Direction::Outgoing => "outgoing",
        Direction::Unspecified => "unspecified",
    }
}
