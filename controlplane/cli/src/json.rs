//! The shape of `--json`, which all programs share.

pub(crate) use proto::json::shape;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
