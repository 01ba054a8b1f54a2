//! What a rule is to be expected to take of the host's own traffic. Values only.
//!
//! Packets of a conversation are alike, so each conversation of the baseline is one witness, and not each packet. What a rule asks is of two
//! sorts: **kinds** of traffic (a protocol, a service's port, flags, lengths), and **names** (an address, a client's port, the mark or label that
//! a system or a path gives its packets), of which the next conversation has others: the next call comes from elsewhere. So the share that a
//! rule takes is that of its kinds, times the share of its names among conversations of these kinds.

use dataplane::rule::{Component, Ranges};

use super::own;
use super::search::{Measure, Miner};
use super::table::Conversations;

/// So many conversations of a baseline weigh as much as what is known of hosts in general.
pub(super) const CONVERSATIONS: f64 = 2.0;

/// What a baseline is good for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trust {
    /// So many conversations, which do not depend on each other.
    pub(super) known: f64,
    /// What a rule pays for each word, as a share of the sample.
    pub(super) word_cost: f64,
}

/// What is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Who {
    /// Something that all packets of a far end share.
    pub(super) ends: bool,
    /// Something that all packets of a flow share.
    pub(super) flows: bool,
}

impl Who {
    pub(super) fn is_any(self) -> bool {
        self.ends || self.flows
    }

    pub(super) fn and(self, other: Who) -> Who {
        Who { ends: self.ends || other.ends, flows: self.flows || other.flows }
    }

    pub(super) fn known(self, conversations: Conversations) -> f64 {
        let Conversations { ends, flows } = conversations;
        if self.ends { if self.flows { ends.min(flows) } else { ends } } else { flows }
    }
}

/// Traffic of a rule's kinds, whoever it is of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kinds {
    /// Its share of the baseline.
    pub(super) baseline: f64,
    /// The share that is to be expected.
    pub(super) expected: f64,
    /// How much there is to learn names from.
    pub(super) conversations: Conversations,
}

impl Miner<'_> {
    /// What a component with such numbers names.
    pub(super) fn who(&self, component: Component, ranges: &Ranges) -> Who {
        let is_named = ranges.iter().any(|(low, high)| {
            // A single port of the host is a service.
            own::is_name(component, high) && (component != self.near_port || low < high)
        });
        match component {
            Component::Dscp | Component::FlowLabel => Who { ends: true, flows: false },
            Component::SourcePort | Component::DestinationPort => Who { ends: false, flows: is_named },
            _ => Who::default(),
        }
    }

    /// What is to be expected grows with the share of the baseline, and with what is known in general of the component that is added:
    /// by how much each.
    pub(super) fn rates(&self, measure: &Measure, kinds: &Kinds, who: Who) -> (f64, f64) {
        let known = self.of_kinds.known;
        if known == 0.0 {
            return (0.0, measure.prior);
        }
        if !who.is_any() {
            let of = known + CONVERSATIONS;
            return (known / of, CONVERSATIONS * measure.of_kinds / of);
        }
        if kinds.baseline == 0.0 {
            return (0.0, kinds.expected * measure.of_names);
        }
        let known = who.known(kinds.conversations);
        let of = kinds.expected / (known + CONVERSATIONS);
        (of * known / kinds.baseline, of * CONVERSATIONS * measure.of_names)
    }

    /// The share of the host's own traffic that a rule is to be expected to take along.
    pub(super) fn expected(&self, measure: &Measure, kinds: &Kinds, baseline: f64) -> f64 {
        let (by_baseline, in_general) = self.rates(measure, kinds, measure.who);
        let shown = if measure.who.is_any() && kinds.baseline > 0.0 { baseline / kinds.baseline } else { 0.0 };
        // Few conversations never speak for less than what they show.
        (by_baseline * baseline + in_general).max(kinds.expected * shown)
    }
}
