//! Sections `[notify.NAME]` and `[webhooks.NAME]` as keys and values. An address that is a secret is in a file of its own.

use super::{Leaves, quoted, texts};
use crate::actions::notify::notice::Layout;
use crate::actions::notify::settings::{Address, Script, Template, Way, Webhook};
use crate::config::Config;
use crate::detector::EventKind;

impl Config {
    pub(super) fn add_notify(&self, leaves: &mut Leaves) {
        for subscriber in &self.subscribers {
            let key = |key: &str| format!("{}.{key}", subscriber.name);
            match &subscriber.way {
                Way::Script(script) => add_script(leaves, script, key),
                Way::Webhook(webhook) => add_webhook(leaves, webhook, key),
            }
            leaves.list(key("groups"), texts(&subscriber.groups));
            leaves.one(key("acts"), subscriber.acts);
            leaves.one(key("at_most"), subscriber.at_most);
        }
    }
}

/// The word of a value.
fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

fn add_script(leaves: &mut Leaves, script: &Script, key: impl Fn(&str) -> String) {
    leaves.text(key("script"), script.path.display());
    leaves.text(key("layout"), word(&Layout::WORDS, script.layout));
    leaves.one(key("report_packets"), script.report_packets);
    leaves.one(key("timeout_s"), script.timeout.as_secs());
}

fn add_webhook(leaves: &mut Leaves, webhook: &Webhook, key: impl Fn(&str) -> String) {
    match &webhook.address {
        Address::Url(url) => leaves.text(key("url"), url),
        Address::File(path) => leaves.text(key("url_file"), path.display()),
    }
    leaves.text(key("secret_file"), webhook.secret_file.as_deref().unwrap_or("".as_ref()).display());
    leaves.text(key("template"), word(&Template::WORDS, webhook.template));
    leaves.list(key("events"), webhook.events.iter().copied().map(EventKind::as_str).map(quoted));
    leaves.text(key("ca_file"), webhook.ca_file.as_deref().unwrap_or("".as_ref()).display());
    leaves.one(key("plain_http"), webhook.plain_http);
    leaves.one(key("connect_timeout_ms"), webhook.connect_timeout.as_millis());
    leaves.one(key("timeout_ms"), webhook.timeout.as_millis());
    leaves.one(key("back_off_max_s"), webhook.back_off_max.as_secs());
    leaves.one(key("give_up_after_s"), webhook.give_up_after.as_secs());
}
