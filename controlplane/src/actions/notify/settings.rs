//! Whom to tell, and how. Values only; the configuration makes them.

use std::path::PathBuf;
use std::time::Duration;

use super::notice::Layout;
use crate::detector::EventKind;

/// A script or a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Its section in the configuration: "notify.edge", "webhooks.chat".
    pub name: String,
    /// Only attacks on hosts of these groups; empty: on all.
    pub groups: Vec<String>,
    /// Whether it does something about attacks, rather than only tell of them: then dry run, `monitor_only` and a pause hold for it.
    pub acts: bool,
    /// Most calls at the same time.
    pub at_most: usize,
    /// How it is told.
    pub way: Way,
}

/// How a subscriber is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A program is run.
    Script(Script),
    /// A body is posted.
    Webhook(Webhook),
}

/// A program as FastNetMon calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The program.
    pub path: PathBuf,
    /// What it is called with, and gets to read.
    pub layout: Layout,
    /// Most packets in a report.
    pub report_packets: usize,
    /// After this it is killed.
    pub timeout: Duration,
}

/// Somebody who takes a POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where to.
    pub address: Address,
    /// The file with the secret that bodies are signed with; none: they are not signed.
    pub secret_file: Option<PathBuf>,
    /// What the body looks like.
    pub template: Template,
    /// Which events.
    pub events: Vec<EventKind>,
    /// Certificates that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether `http://` will do, also to other machines.
    pub plain_http: bool,
    /// For the connection.
    pub connect_timeout: Duration,
    /// For all of one try.
    pub timeout: Duration,
    /// Longest pause between two tries.
    pub back_off_max: Duration,
    /// After this time it is not tried again.
    pub give_up_after: Duration,
}

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// As the configuration has it: no secret.
    Url(String),
    /// In this file, since who knows it may post there.
    File(PathBuf),
}

/// What a webhook's body looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// The record of the attack in JSON.
    Levee,
    /// A line of text, as Slack and those like it want it.
    Slack,
}

impl Template {
    /// Each with its word.
    pub const WORDS: [(&'static str, Template); 2] = [("levee", Template::Levee), ("slack", Template::Slack)];
}

impl Layout {
    /// Each with its word.
    pub const WORDS: [(&'static str, Layout); 3] =
        [("1.2.4", Layout::Classic), ("1.2.6", Layout::Newer), ("advanced", Layout::Advanced)];
}

impl Subscriber {
    /// How many packets of a capture it wants.
    pub fn report_packets(&self) -> usize {
        match &self.way {
            Way::Script(script) => script.report_packets,
            Way::Webhook(_) => 0,
        }
    }

    /// Where it is, as people may see it: a path, or scheme and host.
    pub fn place(&self) -> String {
        match &self.way {
            Way::Script(script) => script.path.display().to_string(),
            Way::Webhook(Webhook { address: Address::Url(url), .. }) => origin(url).to_owned(),
            Way::Webhook(Webhook { address: Address::File(path), .. }) => format!("as {} says", path.display()),
        }
    }
}

/// Scheme and host of an address: what of it is never a secret.
pub fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    let start = url[host..end].rfind('@').map_or(0, |at| host + at + 1);
    &url[start..end]
}

#[cfg(test)]
pub(crate) mod samples {
    //! Subscribers for the tests of several rooms.

    use super::*;

    /// A script with the layout of 1.2.4.
    pub(crate) fn script(path: &str) -> Subscriber {
        let script =
            Script { path: path.into(), layout: Layout::Classic, report_packets: 20, timeout: Duration::from_secs(60) };
        let name = "notify.edge".to_owned();
        Subscriber { name, groups: Vec::new(), acts: true, at_most: 8, way: Way::Script(script) }
    }

    /// A webhook that nobody answers.
    pub(crate) fn webhook(url: &str) -> Webhook {
        Webhook {
            address: Address::Url(url.to_owned()),
            secret_file: None,
            template: Template::Levee,
            events: vec![EventKind::Detected],
            ca_file: None,
            plain_http: false,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            back_off_max: Duration::from_secs(60),
            give_up_after: Duration::from_secs(86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_only_scheme_and_host_are_shown() {
        for (url, shown) in [
            ("https://hooks.example/services/T0/B0/secret", "https://hooks.example"),
            ("https://hooks.example:8443?token=secret", "https://hooks.example:8443"),
            ("https://user:secret@hooks.example/", "hooks.example"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]"),
        ] {
            assert_eq!(origin(url), shown);
        }
    }
}
