//! What a person may order: a ban, a rule, and an end to either.

use std::collections::HashMap;

use ipnet::IpNet;
use uuid::Uuid;

use super::life::{Attack, Turn};
use super::{Detector, Effect, Error, Observed, Wish};
use crate::attack::{Now, Rates, Target};
use crate::record::{AttackRecord, FlowSpec};

impl Detector {
    /// A person wants an attack on a target, for `seconds` or (0) until it ends by itself. One that is alive goes on.
    pub fn ban(
        &mut self,
        now: Now,
        target: Target,
        group: &str,
        seconds: u64,
        reason: &str,
        by: &str,
    ) -> Result<(Uuid, Vec<Effect>), Error> {
        if let Some(network) = self.whitelisted(&target) {
            return Err(Error::Whitelisted { target, network });
        }
        let mut turn = Turn::new(now, &self.settings);
        if let Some(attack) = self.followed.get_mut(&target).and_then(|followed| followed.attack.as_mut()) {
            attack.ban(&mut turn, seconds, reason, by);
            return Ok((attack.record.id, turn.effects));
        }
        if self.targets.len() >= self.settings.attacks_max {
            return Err(Error::Full(self.targets.len()));
        }
        let attack = Attack::by_hand(&mut turn, target, group, seconds, reason, by);
        let id = attack.record.id;
        self.add(&turn, attack);
        Ok((id, turn.effects))
    }

    /// A person ends every attack on a prefix, in both directions, and takes back every rule by hand for it. It takes a whole
    /// new crossing to start another.
    pub fn unban(&mut self, now: Now, prefix: IpNet, reason: &str, by: &str) -> (Vec<Uuid>, Vec<Effect>) {
        let mut turn = Turn::new(now, &self.settings);
        let why = format!("unban by {by}: {reason}");
        let mut ids = Vec::new();
        self.followed.retain(|target, followed| match &mut followed.attack {
            Some(attack) if target.prefix == prefix => {
                attack.unban(&mut turn, &why);
                ids.push(attack.record.id);
                false
            }
            _ => true,
        });
        for id in &ids {
            self.targets.remove(id);
        }
        for order in self.orders.values_mut().filter(|order| order.record.target.prefix == prefix) {
            order.unban(&mut turn, &why);
            ids.push(order.record.id);
        }
        self.bury_orders();
        (ids, turn.effects)
    }

    /// A person wants a rule. That it is within its target, and that the target is ours, is for the caller to see to.
    pub fn order(
        &mut self,
        now: Now,
        whom: (Target, &str),
        flow_spec: FlowSpec,
        wish: Wish<'_>,
    ) -> Result<(Uuid, Vec<Effect>), Error> {
        let mut turn = Turn::new(now, &self.settings);
        let same = |order: &Attack| order.record.wanted_rules().any(|known| known.flow_spec == flow_spec);
        if let Some(order) = self.orders.values_mut().find(|order| same(order)) {
            order.order_again(&mut turn, wish);
            return Ok((order.record.id, turn.effects));
        }
        let known = self
            .attacks()
            .flat_map(AttackRecord::wanted_rules)
            .find(|known| known.flow_spec.rule == flow_spec.rule)
            .map(|known| (known.id, known.flow_spec.action == flow_spec.action));
        if let Some((other, false)) = known {
            return Err(Error::OtherAction(other));
        }
        if self.orders.len() >= self.settings.limits.rules_in_all {
            return Err(Error::TooManyOrders(self.orders.len()));
        }
        let order = Attack::order(&mut turn, whom, flow_spec, known.map(|(id, _)| id), wish);
        let id = order.record.id;
        self.orders.insert(id, order);
        Ok((id, turn.effects))
    }

    /// A person takes a rule by hand back, by its attack's id. Whether there is one.
    pub fn take_back(&mut self, now: Now, order: Uuid, reason: &str, by: &str) -> (bool, Vec<Effect>) {
        let mut turn = Turn::new(now, &self.settings);
        let found =
            self.orders.get_mut(&order).map(|order| order.unban(&mut turn, &format!("removed by {by}: {reason}")));
        self.bury_orders();
        (found.is_some(), turn.effects)
    }

    /// One tick of all rules by hand.
    pub(super) fn obey(&mut self, turn: &mut Turn, observed: &[Observed]) {
        if self.orders.is_empty() {
            return;
        }
        let by_target: HashMap<Target, &Observed> =
            observed.iter().map(|observed| (observed.target, observed)).collect();
        for order in self.orders.values_mut() {
            let rates = by_target.get(&order.record.target).map(|observed| {
                let Observed { seconds, all, matched, .. } = observed;
                (Rates::of(all, *seconds), Rates::of(&all.less(matched), *seconds))
            });
            let (all, rest) = rates.unwrap_or_default();
            order.live_by_order(turn, all, rest);
        }
        self.bury_orders();
    }

    pub(super) fn bury_orders(&mut self) {
        self.orders.retain(|_, order| order.record.state.is_alive());
    }
}
