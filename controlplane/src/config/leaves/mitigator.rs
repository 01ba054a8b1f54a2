//! Section `[mitigator]` as keys and values.

use super::{Leaves, quoted, texts};
use crate::actions::mitigator::settings::{Countermeasures, Family, PasswordSource};
use crate::config::Config;

impl Config {
    pub(super) fn add_mitigator(&self, leaves: &mut Leaves) {
        let Some(mitigator) = &self.mitigator else { return };
        let key = |key: &str| format!("mitigator.{key}");
        leaves.list(key("addresses"), texts(&mitigator.addresses));
        leaves.text(key("user"), &mitigator.user);
        match &mitigator.password {
            PasswordSource::File(path) => leaves.text(key("password_file"), path.display()),
            PasswordSource::Credential(name) => leaves.text(key("password_credential"), name),
        }
        leaves.text(key("ca_file"), mitigator.ca_file.as_deref().unwrap_or("".as_ref()).display());
        leaves.one(key("insecure"), mitigator.insecure);
        leaves.one(key("connect_timeout_ms"), mitigator.connect_timeout.as_millis());
        leaves.one(key("timeout_ms"), mitigator.timeout.as_millis());
        leaves.one(key("back_off_max_s"), mitigator.back_off_max.as_secs());
        leaves.one(key("check_period_s"), mitigator.check_period.as_secs());
        let word = Family::WORDS.iter().find(|(_, family)| *family == mitigator.family);
        leaves.text(key("names"), word.map_or("auto", |(word, _)| *word));
        leaves.text(key("token_header"), &mitigator.token_header);
        leaves.one(key("by_inbound_packet"), mitigator.by_inbound_packet);
        if let Some(policy) = mitigator.default_policy {
            leaves.one(key("default_policy"), policy);
        }
        let mut numbers: Vec<u64> = Vec::new();
        for (_, policy) in &mitigator.policies {
            if !numbers.contains(policy) {
                numbers.push(*policy);
            }
        }
        for (index, number) in numbers.into_iter().enumerate() {
            let networks = mitigator.policies.iter().filter(|(_, policy)| *policy == number);
            leaves.list(key(&format!("policies[{index}].networks")), networks.map(|(network, _)| quoted(network)));
            leaves.one(key(&format!("policies[{index}].policy")), number);
        }
        for (index, Countermeasures { classes, directions, groups, switches }) in
            mitigator.countermeasures.iter().enumerate()
        {
            let key = |key: &str| format!("mitigator.countermeasures[{index}].{key}");
            leaves.list(key("classes"), texts(classes));
            leaves.list(key("directions"), texts(directions));
            leaves.list(key("groups"), texts(groups));
            leaves.list(key("switches"), texts(switches));
        }
        for (ours, theirs) in &mitigator.rename {
            leaves.text(key(&format!("rename.{ours}")), theirs);
        }
        for (name, path) in mitigator.paths.all() {
            leaves.text(key(&format!("paths.{name}")), path);
        }
    }
}
