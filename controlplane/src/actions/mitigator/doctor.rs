//! Looks at a MITIGATOR as Levee would use it, and says what it finds. Changes nothing there: it logs in and reads.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use super::api::Policy;
use super::client::{Client, Error, path_of};
use super::plan::{Asked, LookedUp, Plan, plan, policies, to_look_up};
use super::settings::{Class, Family, GENERAL, PROTECTION, Settings};
use crate::attack::{Direction, Target, host, name};
use crate::tls::Trust;

/// Most policies that are looked at one by one.
const POLICIES_MAX: usize = 64;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As it should be.
    Good,
    /// Neither good nor bad.
    Note,
    /// It may not be what you want.
    Warning,
    /// It will not work.
    Bad,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    pub grade: Grade,
    /// What about.
    pub about: String,
    /// What was found, and what it means.
    pub text: String,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// In the order of looking.
    pub findings: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, grade: Grade, about: impl Into<String>, text: impl Into<String>) {
        self.findings.push(Finding { grade, about: about.into(), text: text.into() });
    }

    fn error(&mut self, about: impl Into<String>, error: &Error) {
        self.add(Grade::Bad, about, error.to_string());
    }

    /// Whether nothing is bad.
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.grade < Grade::Bad)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.findings.iter().map(|finding| finding.about.chars().count()).max().unwrap_or(0);
        for Finding { grade, about, text } in &self.findings {
            let grade = match grade {
                Grade::Good => "good",
                Grade::Note => "note",
                Grade::Warning => "WARN",
                Grade::Bad => "BAD ",
            };
            writeln!(f, "{grade}  {about:<width$}  {text}")?;
        }
        Ok(())
    }
}

/// For whom it is asked what would be switched.
#[derive(Clone, Debug)]
pub struct Example {
    /// The host.
    pub host: IpAddr,
    /// How many bits of an IPv6 address a host has.
    pub ipv6_prefix_length: u8,
    /// Its group.
    pub group: String,
    /// The classes of attack.
    pub classes: Vec<Class>,
}

/// Looks at everything.
pub async fn examine(settings: &Settings, example: &Example) -> Findings {
    let mut found = Findings::default();
    password(settings, &mut found);
    let mut reached = None;
    for address in &settings.addresses {
        let client = node(settings, address, &mut found).await;
        reached = reached.or(client);
    }
    match reached {
        Some(client) => Examination { settings, client, found, family: Family::From2008 }.all(example).await,
        None => found,
    }
}

fn password(settings: &Settings, found: &mut Findings) {
    let path = path_of(&settings.password);
    let about = "password";
    match std::fs::metadata(&path) {
        Err(error) => found.add(Grade::Bad, about, format!("{}: {error}", path.display())),
        Ok(file) if file.permissions().mode() & 0o077 != 0 => {
            let text = format!("{} may be read by others than its owner: chmod 600", path.display());
            found.add(Grade::Warning, about, text);
        }
        Ok(_) => found.add(Grade::Good, about, format!("{}, for its owner alone", path.display())),
    }
}

/// One node by itself: is it there, who is it, does it let us in?
async fn node(settings: &Settings, address: &str, found: &mut Findings) -> Option<Client> {
    let alone = Arc::new(Settings { addresses: vec![address.to_owned()], ..settings.clone() });
    let mut client = match Client::new(Arc::clone(&alone)) {
        Ok(client) => client,
        Err(error) => {
            found.error(address, &error);
            return None;
        }
    };
    let entered = match client.log_in().await {
        Ok(()) => client.ping(settings).await,
        Err(error) => Err(error),
    };
    match client.certificate() {
        _ if address.starts_with("http://") => {
            found.add(Grade::Warning, address, "no TLS: password and token are there for all to read");
        }
        None => {}
        Some(seen) => {
            let (grade, text) = match seen.trust {
                Trust::System => (Grade::Good, "an authority of the system vouches for its certificate"),
                Trust::CaFile => (Grade::Good, "an authority of ca_file vouches for its certificate"),
                Trust::Itself => (Grade::Good, "its certificate is in ca_file"),
                Trust::Insecure => {
                    (Grade::Warning, "its certificate is NOT looked at (insecure = true): put it into ca_file")
                }
            };
            found.add(grade, address, format!("{text}; SHA-256 {}", seen.fingerprint));
            if seen.expires_soon {
                found.add(Grade::Warning, address, "its certificate expires within 30 days");
            }
        }
    }
    match entered {
        Ok(()) => {
            let led =
                if client.node() == address { String::new() } else { format!("; its leader is {}", client.node()) };
            found.add(Grade::Good, address, format!("{} is logged in{led}", settings.user));
            Some(client)
        }
        Err(error) => {
            found.error(address, &error);
            None
        }
    }
}

struct Examination<'a> {
    settings: &'a Settings,
    client: Client,
    found: Findings,
    family: Family,
}

fn on(state: bool) -> &'static str {
    if state { "on" } else { "off" }
}

impl Examination<'_> {
    async fn all(mut self, example: &Example) -> Findings {
        self.version().await;
        self.general().await;
        self.autodetection().await;
        let known = match self.client.policies(self.settings).await {
            Ok(known) => Some(known),
            Err(error) => {
                self.found.add(Grade::Warning, "policies", format!("cannot be listed: {error}"));
                None
            }
        };
        let mut mapped: BTreeSet<u64> = self.settings.policies.iter().map(|(_, policy)| *policy).collect();
        mapped.extend(self.settings.default_policy);
        if mapped.len() > POLICIES_MAX {
            let text = format!("only the first {POLICIES_MAX} of {} are looked at", mapped.len());
            self.found.add(Grade::Note, "policies", text);
        }
        if self.settings.default_policy.is_none() {
            let text = "no default_policy: nothing is switched for hosts that have none";
            self.found.add(Grade::Note, "policies", text);
        }
        for policy in mapped.into_iter().take(POLICIES_MAX) {
            self.policy(policy, known.as_deref()).await;
        }
        for class in &example.classes {
            self.example(example, *class).await;
        }
        self.found
    }

    async fn version(&mut self) {
        let version = self.client.version(self.settings).await;
        let by_version = version.as_ref().ok().and_then(|version| Family::of_version(version));
        self.family = self.settings.family.or(by_version).unwrap_or(Family::From2008);
        let family = self.family;
        match (version, self.settings.family, by_version) {
            (Ok(version), None, Some(_)) => self.found.add(Grade::Good, "version", format!("{version}: {family}")),
            (Ok(version), Some(set), Some(has)) if set != has => {
                let text = format!("{version} has {has}, but mitigator.names says {set}");
                self.found.add(Grade::Warning, "version", text);
            }
            (Ok(version), Some(_), _) => {
                self.found.add(Grade::Good, "version", format!("{version}: {family}, as mitigator.names says"));
            }
            (Ok(version), None, None) => {
                let text =
                    format!("\"{version}\" is no version that is known: say in mitigator.names which names it has");
                self.found.add(Grade::Warning, "version", text);
            }
            (Err(error), ..) => {
                self.found.add(Grade::Warning, "version", format!("{error}; taken for one with {family}"))
            }
        }
    }

    async fn general(&mut self) {
        let name = self.settings.name(GENERAL, self.family);
        match self.client.switch(self.settings, None, &name).await {
            Ok(Some(true)) => self.found.add(Grade::Good, "general protection", "on"),
            Ok(state) => {
                let state = state.map_or("never configured", on);
                let text = format!("{state}: no policy protects anybody until you switch it on; Levee does not");
                self.found.add(Grade::Warning, "general protection", text);
            }
            Err(error) => self.found.add(Grade::Warning, "general protection", error.to_string()),
        }
    }

    async fn autodetection(&mut self) {
        let about = "autodetection";
        match self.client.autodetection(self.settings, self.family).await {
            Ok(Some(true)) => {
                let text = "on: where a policy takes part in it, MITIGATOR may switch off what Levee switched on, and Levee leaves it so";
                self.found.add(Grade::Warning, about, text);
            }
            Ok(Some(false)) => self.found.add(Grade::Good, about, "off: nobody but people and Levee switches"),
            Ok(None) => self.found.add(Grade::Note, about, "not known to this version"),
            Err(error) => self.found.add(Grade::Note, about, error.to_string()),
        }
    }

    async fn policy(&mut self, policy: u64, known: Option<&[Policy]>) {
        let about = format!("policy {policy}");
        match known.map(|known| known.iter().find(|known| known.id == policy)) {
            Some(None) => return self.found.add(Grade::Bad, about, "there is no such policy"),
            Some(Some(known)) => {
                self.found.add(Grade::Good, &about, format!("\"{}\"", known.name));
                if known.auto_mitigation {
                    let text = "takes part in autodetection, which may switch off what Levee switched on";
                    self.found.add(Grade::Warning, &about, text);
                }
            }
            None => {}
        }
        match self.client.monitor_mode(self.settings, policy).await {
            Ok(Some(true)) => {
                self.found.add(
                    Grade::Warning,
                    &about,
                    "in monitor mode: it looks on, and drops nothing whatever is switched on",
                );
            }
            Ok(_) => {}
            Err(error) => self.found.add(Grade::Note, &about, error.to_string()),
        }
        let mut switches = vec![PROTECTION.to_owned()];
        for switch in self.settings.countermeasures.iter().flat_map(|rule| &rule.switches) {
            if !switches.contains(switch) {
                switches.push(switch.clone());
            }
        }
        let mut states = Vec::new();
        for switch in switches {
            match self.state(policy, &switch).await {
                Ok(state) => states.push(format!("{switch} {}", state.map_or("off (never configured)", on))),
                Err(error) => self.found.error(&about, &error),
            }
        }
        self.found.add(Grade::Note, about, format!("now: {}", states.join(", ")));
    }

    async fn state(&mut self, policy: u64, switch: &str) -> Result<Option<bool>, Error> {
        let name = self.settings.name(switch, self.family);
        self.client.switch(self.settings, Some(policy), &name).await
    }

    /// What would be switched on.
    async fn example(&mut self, example: &Example, class: Class) {
        let prefix = host(example.host, example.ipv6_prefix_length);
        let about = format!("{} {class}", name(prefix));
        let target = Target { prefix, direction: Direction::Incoming };
        let (group, classes) = (example.group.clone(), vec![class]);
        let asked = [Asked { attack: Uuid::nil(), target, group, classes, held_back: None }];
        let mut looked_up = LookedUp::new();
        if to_look_up(self.settings, &asked).next().is_some() {
            let policy = self.client.policy_of_packet(self.settings, example.host, "TCP").await;
            if let Err(error) = &policy {
                self.found.add(Grade::Warning, &about, format!("MITIGATOR does not say which policy it has: {error}"));
            }
            looked_up.insert(target, policy.ok().flatten());
        }
        let Plan { wanted, homeless, .. } = plan(self.settings, &looked_up, &asked);
        if !homeless.is_empty() {
            return self.found.add(Grade::Warning, about, "it has no policy: nothing would be switched");
        }
        if wanted.is_empty() {
            return self.found.add(
                Grade::Note,
                about,
                "no countermeasures for such an attack: nothing would be switched",
            );
        }
        let why = match (policies(self.settings, prefix).is_empty(), looked_up.get(&target)) {
            (false, _) => "by mitigator.policies",
            (true, Some(Some(_))) => "as MITIGATOR says",
            (true, _) => "by default_policy",
        };
        let mut steps = Vec::new();
        for one in wanted {
            let now = match self.state(one.policy, &one.switch).await {
                Ok(state) => on(state.unwrap_or(false)).to_owned(),
                Err(error) => error.to_string(),
            };
            let name = self.settings.name(&one.switch, self.family);
            let path = self.settings.paths.switch.replace("{name}", &name);
            steps.push(format!("{} on (PUT {path}?policy={}, now {now})", one.switch, one.policy));
        }
        self.found.add(Grade::Note, about, format!("{why}: {}", steps.join(", then ")));
    }
}
