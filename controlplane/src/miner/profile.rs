//! What a router can do: which components it matches, and how many items in one. Values only.

use dataplane::rule::nlri::ITEMS_MAX;
use dataplane::rule::{Bits, Component, FlowRule};

/// What a router takes. The default is what every known one takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The components that it matches. The target's prefix is always one of them.
    pub components: Vec<Component>,
    /// Most items in one component: a number is one, a range two, what a bitmask wants set one and what it wants clear one.
    pub items_max: usize,
    /// Whether it matches the don't-fragment flag.
    pub dont_fragment: bool,
    /// Most rules for one target.
    pub rules_max: usize,
}

impl Default for Profile {
    fn default() -> Profile {
        Profile {
            components: Component::ALL.to_vec(),
            items_max: ITEMS_MAX,
            dont_fragment: false,
            rules_max: usize::MAX,
        }
    }
}

impl Profile {
    /// Whether it matches this component.
    pub fn has(&self, component: Component) -> bool {
        self.components.contains(&component)
    }

    /// What both take.
    pub fn and(&self, other: &Profile) -> Profile {
        Profile {
            components: self.components.iter().copied().filter(|&component| other.has(component)).collect(),
            items_max: self.items_max.min(other.items_max),
            dont_fragment: self.dont_fragment && other.dont_fragment,
            rules_max: self.rules_max.min(other.rules_max),
        }
    }

    /// Whether it takes the rule, whose prefix `near` is the target.
    pub fn takes(&self, rule: &FlowRule, near: Component) -> bool {
        Component::ALL.into_iter().all(|component| {
            let items = match (rule.prefix(component), rule.ranges(component), rule.bits(component)) {
                (Some(_), ..) => 1,
                (_, Some(ranges), _) => ranges.items(),
                (_, _, Some(bits)) => bits.iter().map(|&bits| bit_items(bits)).sum(),
                _ => 0,
            };
            items == 0 || component == near || (self.has(component) && items <= self.items_max)
        }) && (self.dont_fragment || rule.fragments.iter().all(|bits| (bits.set | bits.clear) & DONT_FRAGMENT == 0))
    }
}

/// The flag that some routers refuse.
pub(super) const DONT_FRAGMENT: u16 = dataplane::packet::fragment::DONT as u16;

/// Items of one alternative.
pub(super) fn bit_items(bits: Bits) -> usize {
    usize::from(bits.set != 0) + usize::from(bits.clear != 0)
}
