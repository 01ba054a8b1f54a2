//! What routers take, where the operator says so: sections `[profiles.NAME]`.

use std::collections::BTreeMap;

use dataplane::rule::nlri::LENGTH_MAX;
use dataplane::rule::{Component, SET_MAX};
use serde_spanned::Spanned;

use super::check::Findings;
use super::raw::{self, Text};
use crate::profile::Profile;

/// A section.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// The profile from which it has what it does not say itself.
    pub like: &'static str,
    /// What comes of it.
    pub profile: Profile,
}

impl Section {
    /// The components that its routers do not match.
    pub fn without(&self) -> impl Iterator<Item = Component> + '_ {
        Component::ALL.into_iter().filter(|&component| !self.profile.has(component))
    }
}

pub(super) fn sections(raw: &BTreeMap<String, Spanned<raw::Profile>>, findings: &mut Findings) -> Vec<Section> {
    raw.iter().map(|(name, raw)| section(name, raw, findings)).collect()
}

fn section(name: &str, raw: &Spanned<raw::Profile>, findings: &mut Findings) -> Section {
    let key = |last: &str| format!("profiles.{name}.{last}");
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if Profile::NAMES.contains(&name) || name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
        let hint = format!(
            "up to 64 letters, digits, '-' and '_'; these are there without a section: {}",
            Profile::NAMES.join(", ")
        );
        findings.add(raw.span(), format!("profiles.{name}"), format!("\"{name}\" cannot be the name"), hint);
    }
    let raw = raw.get_ref();
    let like = raw.like.as_ref().map_or(Profile::NAMES[0], |like| known(&key("like"), like, findings));
    let base = Profile::named(like).unwrap_or_default();
    let without = raw.without.as_ref().map(|list| without(&key("without"), list, findings)).unwrap_or_default();
    let profile = Profile {
        name: name.into(),
        components: base.components.into_iter().filter(|component| !without.contains(component)).collect(),
        items_max: findings.number(&key("items_max"), &raw.items_max, base.items_max, 1..=base.items_max),
        length_max: findings.number(&key("length_max"), &raw.length_max, base.length_max, 5..=LENGTH_MAX),
        dont_fragment: raw.dont_fragment.unwrap_or(base.dont_fragment),
        redirect_as4: raw.redirect_as4.unwrap_or(base.redirect_as4),
        rules_max: match &raw.rules_per_target {
            Some(_) => findings.number(&key("rules_per_target"), &raw.rules_per_target, SET_MAX, 1..=SET_MAX),
            None => base.rules_max,
        },
    };
    Section { like, profile }
}

/// One of the profiles that need no section.
fn known(key: &str, like: &Text, findings: &mut Findings) -> &'static str {
    let name = like.get_ref().as_str();
    Profile::NAMES.into_iter().find(|known| *known == name).unwrap_or_else(|| {
        let hint = raw::suggestion(name, &Profile::NAMES);
        findings.add(like.span(), key, format!("unknown profile \"{name}\""), hint);
        Profile::NAMES[0]
    })
}

/// Components by their names in a rule.
fn without(key: &str, list: &[Text], findings: &mut Findings) -> Vec<Component> {
    let names = Component::ALL.map(Component::name);
    let mut found = Vec::new();
    for (index, text) in list.iter().enumerate() {
        let (name, key) = (text.get_ref().as_str(), format!("{key}[{index}]"));
        match Component::ALL.into_iter().find(|component| component.name() == name) {
            None => {
                findings.add(text.span(), key, format!("unknown component \"{name}\""), raw::suggestion(name, &names))
            }
            Some(Component::DestinationPrefix) => {
                findings.add(
                    text.span(),
                    key,
                    "a router without destination_prefix",
                    "it could hold no rule: take it out",
                );
            }
            Some(component) => found.push(component),
        }
    }
    found
}
