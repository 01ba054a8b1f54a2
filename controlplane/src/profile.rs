//! What a router takes: components, items in one, length, actions, how many rules. What those of a host group do not take is neither
//! mined nor ordered for it. Values only.

use std::net::IpAddr;
use std::sync::Arc;

use dataplane::rule::nlri::{self, ITEMS_MAX, LENGTH_MAX};
use dataplane::rule::{Action, Bits, Component, Family, FlowRule, Redirect};

/// What a router takes. The default is what every known one takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The word of the configuration.
    pub name: Arc<str>,
    /// The components that it matches.
    pub components: Vec<Component>,
    /// Most items in one component: a number is one, a range two, what a bitmask wants set one and what it wants clear one.
    pub items_max: usize,
    /// Longest rule in bytes, its length octet aside.
    pub length_max: usize,
    /// Whether it matches the don't-fragment flag.
    pub dont_fragment: bool,
    /// Whether it takes a redirect to a route target of a 4-octet AS.
    pub redirect_as4: bool,
    /// Most rules for one target.
    pub rules_max: usize,
}

/// Why a router does not take a rule.
#[allow(missing_docs, reason = "the messages say it")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error(transparent)]
    Encoding(#[from] nlri::Error),
    #[error("routers of profile {profile} do not match {}", component.name())]
    Component { profile: Arc<str>, component: Component },
    #[error("routers of profile {0} do not match dont-fragment")]
    DontFragment(Arc<str>),
    #[error("routers of profile {0} take no redirect to a route target of a 4-octet AS")]
    RedirectAs4(Arc<str>),
    #[error("{0} is no next hop for traffic of the rule's family")]
    RedirectFamily(IpAddr),
    #[error("the rule takes {bytes} bytes, and routers of profile {profile} take {most}")]
    TooLong { profile: Arc<str>, bytes: usize, most: usize },
}

/// Where nothing else bounds the items of a component, the length of a rule does: no component has room for more.
const ITEMS_BY_LENGTH: usize = LENGTH_MAX / 2;

impl Default for Profile {
    fn default() -> Profile {
        Profile {
            name: Profile::NAMES[0].into(),
            components: Component::ALL.to_vec(),
            items_max: ITEMS_MAX,
            length_max: LENGTH_MAX,
            dont_fragment: false,
            redirect_as4: false,
            rules_max: usize::MAX,
        }
    }
}

impl Profile {
    /// The profiles that need no section of their own. The first is what every known router takes.
    pub const NAMES: [&'static str; 5] = ["strict", "bird", "frr", "exabgp", "gobgp"];

    /// The one of this name. All go through a GoBGP, so none takes longer rules than that encodes rightly.
    pub fn named(name: &str) -> Option<Profile> {
        let strict = Profile::default();
        let roomy = Profile {
            name: name.into(),
            items_max: ITEMS_BY_LENGTH,
            dont_fragment: true,
            redirect_as4: true,
            ..strict.clone()
        };
        match name {
            "strict" => Some(strict),
            // It resets its session over more items.
            "frr" => Some(Profile { items_max: ITEMS_MAX, ..roomy }),
            // It resets its session over such a redirect.
            "exabgp" => Some(Profile { redirect_as4: false, ..roomy }),
            "bird" | "gobgp" => Some(roomy),
            _ => None,
        }
    }

    /// Whether it matches this component.
    pub fn has(&self, component: Component) -> bool {
        self.components.contains(&component)
    }

    /// What both take.
    pub fn and(&self, other: &Profile) -> Profile {
        let both = Profile {
            name: format!("{} and {}", self.name, other.name).into(),
            components: self.components.iter().copied().filter(|&component| other.has(component)).collect(),
            items_max: self.items_max.min(other.items_max),
            length_max: self.length_max.min(other.length_max),
            dont_fragment: self.dont_fragment && other.dont_fragment,
            redirect_as4: self.redirect_as4 && other.redirect_as4,
            rules_max: self.rules_max.min(other.rules_max),
        };
        // One that takes no more than the other is that one.
        let narrower =
            [self, other].into_iter().find(|one| **one == Profile { name: Arc::clone(&one.name), ..both.clone() });
        narrower.cloned().unwrap_or(both)
    }

    /// Whether it takes the rule and does with it what the action says.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, rule: &FlowRule, action: &Action) -> Result<(), Unfit> {
        match action {
            // A rate in packets is carried by all, if not understood by all; so is a redirect to an IPv6 address.
            Action::Discard | Action::RateBps(_) | Action::RatePps(_) => {}
            Action::Pass(pass) => self.check_redirect(rule, pass.redirect)?,
            // A route and no rule: of any length.
            Action::Blackhole | Action::Divert => return Ok(()),
        }
        let bytes = nlri::encode_within(rule, self.items_max)?.len() - 1;
        let profile = || Arc::clone(&self.name);
        if let Some(component) = asked(rule).find(|&component| !self.has(component)) {
            return Err(Unfit::Component { profile: profile(), component });
        }
        if !self.dont_fragment && rule.fragments.iter().any(|bits| (bits.set | bits.clear) & DONT_FRAGMENT != 0) {
            return Err(Unfit::DontFragment(profile()));
        }
        if bytes > self.length_max {
            return Err(Unfit::TooLong { profile: profile(), bytes, most: self.length_max });
        }
        Ok(())
    }
}

impl Profile {
    fn check_redirect(&self, rule: &FlowRule, redirect: Option<Redirect>) -> Result<(), Unfit> {
        match (redirect, rule.family()) {
            (Some(Redirect::As4(..)), _) if !self.redirect_as4 => Err(Unfit::RedirectAs4(Arc::clone(&self.name))),
            (Some(Redirect::Ip(address)), Some(family)) if address.is_ipv4() != (family == Family::V4) => {
                Err(Unfit::RedirectFamily(address))
            }
            _ => Ok(()),
        }
    }
}

/// The components that a rule has.
fn asked(rule: &FlowRule) -> impl Iterator<Item = Component> + '_ {
    Component::ALL.into_iter().filter(|&component| match (rule.ranges(component), rule.bits(component)) {
        (Some(ranges), _) => !ranges.is_empty(),
        (_, Some(bits)) => !bits.is_empty(),
        _ => rule.prefix(component).is_some(),
    })
}

/// The flag that some routers refuse.
pub(crate) const DONT_FRAGMENT: u16 = dataplane::packet::fragment::DONT as u16;

/// Items of one alternative.
pub(crate) fn bit_items(bits: Bits) -> usize {
    usize::from(bits.set != 0) + usize::from(bits.clear != 0)
}

#[cfg(test)]
mod tests {
    use dataplane::rule::Pass;

    use super::*;

    fn named(name: &str) -> Profile {
        Profile::named(name).expect(name)
    }

    fn ports(count: u32) -> FlowRule {
        FlowRule { source_ports: (0..count).map(|at| (at * 2, at * 2)).collect(), ..host() }
    }

    fn host() -> FlowRule {
        FlowRule { destination: Some("192.0.2.5/32".parse().unwrap()), ..FlowRule::default() }
    }

    #[test]
    fn the_default_takes_no_more_than_any_other() {
        for name in Profile::NAMES {
            let profile = named(name);
            assert_eq!(&*profile.name, name);
            assert_eq!(profile.and(&named("strict")), named("strict"), "{name}");
        }
        assert_eq!((Profile::default(), Profile::named("cisco")), (named("strict"), None));
    }

    #[test]
    fn each_takes_what_its_router_takes() {
        let dont = FlowRule { fragments: vec![Bits { set: DONT_FRAGMENT, clear: 0 }], ..host() };
        // Five items; six; the don't-fragment flag.
        let cases = [
            ("strict", [true, false, false]),
            ("frr", [true, false, true]),
            ("bird", [true, true, true]),
            ("exabgp", [true, true, true]),
            ("gobgp", [true, true, true]),
        ];
        for (name, takes) in cases {
            let taken = [&ports(5), &ports(6), &dont].map(|rule| named(name).check(rule, &Action::Discard).is_ok());
            assert_eq!(taken, takes, "{name}");
            assert!(named(name).check(&ports(130), &Action::Discard).is_err(), "{name}: too long");
            assert_eq!(named(name).check(&ports(130), &Action::Blackhole), Ok(()), "{name}: a route");
            let nothing = named(name).check(&FlowRule::default(), &Action::Discard);
            assert_eq!(nothing, Err(Unfit::Encoding(nlri::Error::Empty)), "{name}");
        }
    }

    #[test]
    fn redirects_are_held_against_router_and_family() {
        let to = |text: &str| {
            Action::Pass(Pass { redirect: Some(text.parse().unwrap()), dscp: Some(46), ..Pass::default() })
        };
        let v6 = FlowRule { destination: Some("2001:db8::1/128".parse().unwrap()), ..FlowRule::default() };
        for (name, takes) in [("strict", false), ("exabgp", false), ("frr", true), ("bird", true), ("gobgp", true)] {
            let profile = named(name);
            assert_eq!(profile.check(&host(), &to("4200000000:1")).is_ok(), takes, "{name}");
            for (rule, target) in [(host(), "64512:1"), (v6.clone(), "192.0.2.1:1"), (host(), "192.0.2.1")] {
                assert_eq!(profile.check(&rule, &to(target)), Ok(()), "{name}: {rule} {target}");
            }
            assert_eq!(profile.check(&v6, &to("2001:db8::9")), Ok(()));
            let other = profile.check(&v6, &to("192.0.2.1"));
            assert_eq!(other, Err(Unfit::RedirectFamily("192.0.2.1".parse().unwrap())));
            assert!(profile.check(&host(), &to("2001:db8::9")).is_err());
        }
    }

    #[test]
    fn what_it_does_not_take_it_says() {
        let profile = Profile {
            components: vec![Component::DestinationPrefix, Component::SourcePort],
            length_max: 12,
            ..named("frr")
        };
        let says = |rule: FlowRule| profile.check(&rule, &Action::Discard).unwrap_err().to_string();
        assert_eq!(profile.check(&ports(2), &Action::Discard), Ok(()));
        assert_eq!(says(ports(3)), "the rule takes 13 bytes, and routers of profile frr take 12");
        assert_eq!(says(ports(6)), "source_ports has 6 items and routers take 5 (a range is 2): split the rule");
        let lengths = FlowRule { packet_lengths: 40.into(), ..host() };
        assert_eq!(says(lengths), "routers of profile frr do not match packet_lengths");
        let source = FlowRule { source: Some("203.0.113.0/24".parse().unwrap()), ..host() };
        assert_eq!(says(source), "routers of profile frr do not match source_prefix");
        let dont = FlowRule { fragments: vec![Bits { set: 0, clear: DONT_FRAGMENT }], ..host() };
        let strict = named("strict").check(&dont, &Action::Discard).unwrap_err().to_string();
        assert_eq!(strict, "routers of profile strict do not match dont-fragment");
    }

    #[test]
    fn two_together_take_what_both_take() {
        let narrow = Profile { components: vec![Component::Protocol], rules_max: 3, ..named("bird") };
        let both = named("frr").and(&narrow);
        assert_eq!(both, Profile { name: "frr and bird".into(), items_max: 5, ..narrow });
        for (one, other, both) in [("frr", "frr", "frr"), ("bird", "strict", "strict"), ("strict", "gobgp", "strict")] {
            assert_eq!(named(one).and(&named(other)), named(both));
        }
    }
}
