//! The calls that Levee makes, and what their answers mean.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::client::{Call, Client, Error};
use super::settings::{Family, Settings};
use crate::crash::Step;

/// A policy, as MITIGATOR lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) auto_mitigation: bool,
}

/// Longest name that is shown.
const NAME_MAX: usize = 60;

/// A switch's path. Without a policy it is the general protection's.
fn switch_path(settings: &Settings, policy: Option<u64>, name: &str) -> String {
    let path = settings.paths.switch.replace("{name}", name);
    match policy {
        Some(policy) => format!("{path}?policy={policy}"),
        None => path,
    }
}

/// On or off, as a bool or as a number.
fn is_on(value: Option<&Value>) -> Option<bool> {
    match value? {
        Value::Bool(on) => Some(*on),
        Value::Number(number) => match number.as_u64()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
        _ => None,
    }
}

fn unexpected(call: &str, what: &str) -> Error {
    Error::Answer { call: call.to_owned(), reason: format!("no {what} in it") }
}

impl Client {
    /// Whether it is there, and the token good.
    pub(super) async fn ping(&mut self, settings: &Settings) -> Result<(), Error> {
        match self.call(Call::get(Step::MitigatorPing, &settings.paths.ping)).await {
            // That it answers is what was asked.
            Ok(_) | Err(Error::Answer { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Such as "v21.04".
    pub(super) async fn version(&mut self, settings: &Settings) -> Result<String, Error> {
        let path = &settings.paths.version;
        let answer = self.call(Call::get(Step::MitigatorVersion, path)).await?;
        let version = answer.pointer("/data/version").and_then(Value::as_str);
        let version = version.ok_or_else(|| unexpected(&format!("GET {path}"), "data.version"))?;
        Ok(version.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect())
    }

    /// Whether a switch is on; none where it was never configured.
    pub(super) async fn switch(
        &mut self,
        settings: &Settings,
        policy: Option<u64>,
        name: &str,
    ) -> Result<Option<bool>, Error> {
        let path = switch_path(settings, policy, name);
        let call = format!("GET {path}");
        match self.call(Call::get(Step::MitigatorGetSwitch, path)).await {
            Err(Error::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(answer) => {
                let on = is_on(answer.pointer("/data/switch"));
                on.map(Some).ok_or_else(|| unexpected(&call, "data.switch that is on or off"))
            }
        }
    }

    /// Switches on or off.
    pub(super) async fn put_switch(
        &mut self,
        settings: &Settings,
        policy: u64,
        name: &str,
        on: bool,
    ) -> Result<(), Error> {
        let path = switch_path(settings, Some(policy), name);
        let body = json!({ "switch": u8::from(on) });
        self.call(Call::put(Step::MitigatorPutSwitch, path, body)).await.map(drop)
    }

    /// All policies.
    pub(super) async fn policies(&mut self, settings: &Settings) -> Result<Vec<Policy>, Error> {
        let path = &settings.paths.policies;
        let answer = self.call(Call::get(Step::MitigatorLook, path)).await?;
        let list = answer.pointer("/data/policies").and_then(Value::as_array);
        let list = list.ok_or_else(|| unexpected(&format!("GET {path}"), "list data.policies"))?;
        let policy = |value: &Value| {
            let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
            Some(Policy {
                id: value.get("id")?.as_u64()?,
                name: name.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect(),
                auto_mitigation: is_on(value.get("auto_mitigation")).unwrap_or(false),
            })
        };
        Ok(list.iter().filter_map(policy).collect())
    }

    /// Whether a policy only looks on; none where its version does not know that.
    pub(super) async fn monitor_mode(&mut self, settings: &Settings, policy: u64) -> Result<Option<bool>, Error> {
        let path = settings.paths.monitor_mode.replace("{policy}", &policy.to_string());
        match self.call(Call::get(Step::MitigatorLook, path)).await {
            Err(Error::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(answer) => Ok(is_on(answer.pointer("/data/monitor_mode"))),
        }
    }

    /// Whether MITIGATOR switches by itself, too; none where its version does not know that.
    pub(super) async fn autodetection(&mut self, settings: &Settings, family: Family) -> Result<Option<bool>, Error> {
        match self.call(Call::get(Step::MitigatorLook, settings.autodetection(family))).await {
            Err(Error::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(answer) => Ok(is_on(answer.pointer("/data/switch"))),
        }
    }

    /// The policy that a packet to this address meets; none where none does.
    pub(super) async fn policy_of_packet(
        &mut self,
        settings: &Settings,
        to: IpAddr,
        protocol: &str,
    ) -> Result<Option<u64>, Error> {
        // Somebody, somewhere: addresses that are nobody's.
        let from = if to.is_ipv4() { "192.0.2.1" } else { "2001:db8::1" };
        let path = &settings.paths.by_inbound_packet;
        let path = format!("{path}?src_address={from}&dst_address={to}&src_port=1024&dst_port=80&protocol={protocol}");
        let call = format!("GET {path}");
        match self.call(Call::get(Step::MitigatorPolicyOf, path)).await {
            Err(Error::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(answer) => {
                let policy = answer.pointer("/data/policy_id").and_then(Value::as_u64);
                policy.map(Some).ok_or_else(|| unexpected(&call, "data.policy_id"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_switch_is_a_bool_or_a_number() {
        let of = |value: Value| is_on(Some(&value));
        assert_eq!(
            [of(json!(true)), of(json!(1)), of(json!(false)), of(json!(0))].map(Option::unwrap),
            [true, true, false, false]
        );
        for other in [json!(null), json!("1"), json!(2), json!(-1), json!(0.5), json!([1]), json!({})] {
            assert_eq!(of(other.clone()), None, "{other}");
        }
        assert_eq!(is_on(None), None);
    }

    proptest! {
        #[test]
        fn only_zero_and_one_are_numbers_of_a_switch(number: i64) {
            prop_assert_eq!(is_on(Some(&json!(number))), match number { 0 => Some(false), 1 => Some(true), _ => None });
        }
    }
}
