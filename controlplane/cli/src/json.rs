//! The shape of `--json`: the names of the `.proto` file, enums as lowercase words, a rule as an object and not as text, bytes
//! in hex.

use anyhow::Result;
use proto::v1::Direction;
use serde::Serialize;
use serde_json::{Map, Value};

/// A message as the JSON that people and scripts get.
pub(crate) fn shape(message: &impl Serialize) -> Result<Value> {
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
    Value::from(crate::units::direction(known.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tables::fixtures;

    #[test]
    fn an_attack_has_words_and_objects() {
        let shaped = shape(&fixtures::attack(1_000_000)).unwrap();
        assert_eq!(shaped["direction"], "incoming");
        assert_eq!(shaped["detected_ms"], 1_000_000 - 65_000);
        assert_eq!(
            shaped["rules"][0]["flow_spec"],
            json!({"destination_prefix": "198.18.0.7/32", "protocols": ["udp"]})
        );
        assert_eq!(shaped["rules"][0].get("flow_spec_json"), None);
        assert_eq!(shaped["peak"]["udp_pps"], 1_480_000.0);
        let names: Vec<_> = shaped.as_object().unwrap().keys().take(4).cloned().collect();
        assert_eq!(names, ["id", "target", "direction", "group"], "the order of the .proto file");
    }

    #[test]
    fn a_frame_is_in_hex() {
        let status = shape(&fixtures::status(1_000_000)).unwrap();
        let example = &status["unparsed"][1]["example"];
        assert!(example["data"].as_str().unwrap().starts_with("0200000000020200000000018906"), "{example}");
        assert_eq!((&example["length"], &status["unparsed"][0]["example"]), (&json!(9_014), &Value::Null));
    }

    #[test]
    fn what_is_not_known_stays() {
        let rule = proto::v1::Rule { flow_spec_json: "not JSON".into(), ..Default::default() };
        assert_eq!(shape(&rule).unwrap()["flow_spec"], "not JSON");
        let attack = proto::v1::Attack { direction: 77, ..Default::default() };
        assert_eq!(shape(&attack).unwrap()["direction"], "unspecified");
    }
}
