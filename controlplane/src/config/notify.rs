//! Checks of `[notify.NAME]` and `[webhooks.NAME]`: scripts, addresses, what they are told.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use serde_spanned::Spanned;

use super::check::Findings;
use super::mitigator::words;
use super::raw::{self, Text};
use crate::actions::notify::is_allowed;
use crate::actions::notify::notice::Layout;
use crate::actions::notify::settings::{Address, Script, Subscriber, Template, Way, Webhook, origin};
use crate::detector::EventKind;
use crate::group::Group;

/// Most scripts, and most webhooks.
const SUBSCRIBERS_MAX: usize = 16;
/// Longest name of one.
const NAME_MAX: usize = 32;
/// Most calls at the same time.
const AT_MOST: u32 = 64;
/// Most packets in a report.
const PACKETS_MAX: u32 = 1_000;
const DAY_S: u64 = 86_400;

/// Events that a webhook may be told of: those of attacks, but for that somebody was told.
pub(super) const EVENTS: [EventKind; 13] = [
    EventKind::Detected,
    EventKind::Waiting,
    EventKind::Captured,
    EventKind::Mitigating,
    EventKind::RuleWanted,
    EventKind::RuleHeld,
    EventKind::RuleWithdrawn,
    EventKind::Ending,
    EventKind::Ended,
    EventKind::FalsePositive,
    EventKind::Alarm,
    EventKind::Changed,
    EventKind::Switched,
];
/// Those that it is told of where nothing else is said: what an attack goes through.
const EVENTS_DEFAULT: [EventKind; 6] = [
    EventKind::Detected,
    EventKind::Captured,
    EventKind::Mitigating,
    EventKind::Ending,
    EventKind::Ended,
    EventKind::FalsePositive,
];

/// Where the file stands that a subscriber needs.
#[derive(Clone, Debug)]
pub(super) struct FileOrigin {
    pub(super) key: String,
    pub(super) span: Range<usize>,
    pub(super) path: PathBuf,
    pub(super) is_program: bool,
}

/// Reads all sections.
pub(super) fn subscribers(
    raw: &raw::Config,
    groups: &[Group],
    findings: &mut Findings,
) -> (Vec<Subscriber>, Vec<FileOrigin>) {
    let mut reader = Reader { groups, findings, files: Vec::new() };
    reader.names("notify", raw.notify.iter().map(|(name, raw)| (name.as_str(), raw.span())).collect());
    reader.names("webhooks", raw.webhooks.iter().map(|(name, raw)| (name.as_str(), raw.span())).collect());
    let mut list: Vec<Subscriber> = raw.notify.iter().map(|(name, raw)| reader.script(name, raw.get_ref())).collect();
    list.extend(raw.webhooks.iter().map(|(name, raw)| reader.webhook(name, raw)));
    (list, reader.files)
}

struct Reader<'a, 'b, 'c> {
    groups: &'a [Group],
    findings: &'b mut Findings<'c>,
    files: Vec<FileOrigin>,
}

impl Reader<'_, '_, '_> {
    fn names(&mut self, section: &str, names: Vec<(&str, Range<usize>)>) {
        for (index, (text, place)) in names.iter().enumerate() {
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            if text.is_empty() || text.len() > NAME_MAX || !text.chars().all(is_name) {
                let hint = format!("use letters, digits, '-' and '_', at most {NAME_MAX}");
                self.findings.add(place.clone(), format!("{section}.{text}"), format!("\"{text}\" is no name"), hint);
            }
            if index == SUBSCRIBERS_MAX {
                let found = format!("{} sections [{section}.NAME]", names.len());
                self.findings.add(place.clone(), section, found, format!("at most {SUBSCRIBERS_MAX}"));
            }
        }
    }

    fn groups(&mut self, key: &str, raw: &[Text]) -> Vec<String> {
        let known: Vec<&str> = self.groups.iter().map(|group| &*group.name).collect();
        let read = |name: &str| known.contains(&name).then(|| name.to_owned());
        words(&format!("{key}.groups"), raw, &known, read, self.findings)
    }

    /// A file that must be there when it is needed.
    fn file(&mut self, key: String, text: &Text, is_program: bool) -> PathBuf {
        let path = self.findings.path(&key, &Some(text.clone()), "/etc/levee/notify".into());
        self.files.push(FileOrigin { key, span: text.span(), path: path.clone(), is_program });
        path
    }

    fn word<T: Copy>(&mut self, key: String, raw: &Option<Text>, known: &[(&str, T)], default: T) -> T {
        let Some(text) = raw else { return default };
        match known.iter().find(|(word, _)| word == text.get_ref()) {
            Some((_, value)) => *value,
            None => {
                let names: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
                let found = format!("unknown word \"{}\"", text.get_ref());
                self.findings.add(text.span(), key, found, raw::suggestion(text.get_ref(), &names));
                default
            }
        }
    }

    fn script(&mut self, name: &str, raw: &raw::Notify) -> Subscriber {
        let name = format!("notify.{name}");
        let key = |key: &str| format!("{name}.{key}");
        let script = Script {
            path: self.file(key("script"), &raw.script, true),
            layout: self.word(key("layout"), &raw.layout, &Layout::WORDS, Layout::Classic),
            report_packets: self.findings.number(&key("report_packets"), &raw.report_packets, 20, 0..=PACKETS_MAX)
                as usize,
            timeout: self.findings.seconds(&key("timeout_s"), &raw.timeout_s, Duration::from_secs(60), 1..=3600),
        };
        Subscriber {
            groups: self.groups(&name, &raw.groups),
            acts: raw.acts.unwrap_or(true),
            at_most: self.findings.number(&key("at_most"), &raw.at_most, 8, 1..=AT_MOST) as usize,
            way: Way::Script(script),
            name,
        }
    }

    fn webhook(&mut self, name: &str, raw: &Spanned<raw::Webhook>) -> Subscriber {
        let (place, raw) = (raw.span(), raw.get_ref());
        let name = format!("webhooks.{name}");
        let key = |key: &str| format!("{name}.{key}");
        let plain_http = raw.plain_http.unwrap_or(false);
        let file = |text: &Option<Text>| text.clone().filter(|text| !text.get_ref().is_empty());
        let (secret_file, ca_file) = (file(&raw.secret_file), file(&raw.ca_file));
        let events = match &raw.events {
            Some(list) => {
                let read = |word: &str| EVENTS.into_iter().find(|kind| kind.as_str() == word);
                words(&key("events"), list, &EVENTS.map(EventKind::as_str), read, self.findings)
            }
            None => EVENTS_DEFAULT.to_vec(),
        };
        let milliseconds = 100..=600_000;
        let (connect, whole) = (Duration::from_secs(5), Duration::from_secs(10));
        let webhook = Webhook {
            address: self.address(&name, place, raw, plain_http),
            secret_file: secret_file.map(|text| self.file(key("secret_file"), &text, false)),
            template: self.word(key("template"), &raw.template, &Template::WORDS, Template::Levee),
            events,
            ca_file: ca_file.map(|text| self.file(key("ca_file"), &text, false)),
            plain_http,
            connect_timeout: self.findings.milliseconds(
                &key("connect_timeout_ms"),
                &raw.connect_timeout_ms,
                connect,
                milliseconds.clone(),
            ),
            timeout: self.findings.milliseconds(&key("timeout_ms"), &raw.timeout_ms, whole, milliseconds),
            back_off_max: self.findings.seconds(
                &key("back_off_max_s"),
                &raw.back_off_max_s,
                Duration::from_secs(60),
                1..=3600,
            ),
            give_up_after: self.findings.seconds(
                &key("give_up_after_s"),
                &raw.give_up_after_s,
                Duration::from_secs(DAY_S),
                1..=30 * DAY_S,
            ),
        };
        Subscriber {
            groups: self.groups(&name, &raw.groups),
            acts: raw.acts.unwrap_or(false),
            at_most: self.findings.number(&key("at_most"), &raw.at_most, 4, 1..=AT_MOST) as usize,
            way: Way::Webhook(webhook),
            name,
        }
    }

    fn address(&mut self, name: &str, place: Range<usize>, raw: &raw::Webhook, plain_http: bool) -> Address {
        let key = format!("{name}.url");
        let is_good = |text: &str| reqwest::Url::parse(text).is_ok_and(|url| is_allowed(&url, plain_http));
        match (&raw.url, &raw.url_file) {
            (Some(url), None) if is_good(url.get_ref()) => Address::Url(url.get_ref().clone()),
            (Some(url), None) => {
                let hint = "write \"https://hooks.example/levee\"; http:// leads to this machine alone, or where `plain_http = true`";
                let found = format!("\"{}\" is no address of a webhook", origin(url.get_ref()));
                self.findings.add(url.span(), key, found, hint);
                Address::Url(url.get_ref().clone())
            }
            (None, Some(file)) => Address::File(self.file(format!("{name}.url_file"), file, false)),
            (Some(url), Some(_)) => {
                self.findings.add(url.span(), key, "two places for one address", "leave one of them out");
                Address::Url(url.get_ref().clone())
            }
            (None, None) => {
                let hint = "write `url = \"https://…\"`; or `url_file`, the file that has it, where it is a secret";
                self.findings.add(place, key, "no address", hint);
                Address::Url(String::new())
            }
        }
    }
}
