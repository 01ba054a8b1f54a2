//! Temporary stand-in until the real one is merged.

use dataplane::rule::{Action, FlowRule};
use serde_json::{Value, json};

/// Stand-in.
pub fn to_json(rule: &FlowRule, action: &Action) -> Value {
    let action = match action {
        Action::Discard => json!("discard"),
        Action::RateBps(rate) => json!(rate),
        Action::RatePps(_) => json!("pps"),
    };
    json!({"destination": rule.destination, "source": rule.source, "action": action})
}

/// Stand-in.
pub fn from_json(value: &Value) -> Result<(FlowRule, Action), serde_json::Error> {
    let rule = FlowRule {
        destination: serde_json::from_value(value["destination"].clone())?,
        source: serde_json::from_value(value["source"].clone())?,
        ..FlowRule::default()
    };
    Ok((rule, Action::Discard))
}
