//! A rule as clients hand it in: any text. It is refused, or comes out again as it was understood, in JSON and over BGP.
#![no_main]

use dataplane::rule::nlri::{decode, encode};
use libfuzzer_sys::fuzz_target;
use rule_json::{from_json, rule_from_json, rule_to_json, to_json};

/// By itself: the crate around it takes minutes to build.
#[path = "../../../controlplane/src/rule_json.rs"]
mod rule_json;

fuzz_target!(|text: &str| {
    let Ok(value) = serde_json::from_str(text) else { return };
    let (rule, action) = match from_json(&value) {
        Ok(understood) => understood,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(rule_from_json(&value), Ok(rule.clone()), "{value}");
    assert_eq!(rule_from_json(&rule_to_json(&rule)), Ok(rule.clone()), "{value}");
    let written = to_json(&rule, &action);
    assert_eq!(from_json(&written), Ok((rule.clone(), action)), "{written}");
    if let (Ok(nlri), Some(family)) = (encode(&rule), rule.family()) {
        assert_eq!(decode(family, &nlri), Ok(rule), "{written}");
    }
    assert!(action.extended_communities().len() <= 3);
});
