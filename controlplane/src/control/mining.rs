//! From a full capture to the rules that are wanted: mined against the baseline, held against it once more, narrowed to where in a
//! network the attack is.

use dataplane::packet::Headers;
use dataplane::rule::Action;
use uuid::Uuid;

use super::Control;
use crate::attack::{Direction, Kind, Metric, Target, Unit};
use crate::baseline::Check;
use crate::detector::{Effect, MinedRule};
use crate::group::Inseparable;
use crate::miner::{self, Mined, Task};
use crate::narrow;
use crate::record::MinedRecord;

impl Control {
    /// Mines what the capture holds of the traffic that crossed its threshold: what else the host receives meanwhile is its
    /// own, and no rule is to be made of it.
    pub(super) fn mine(&mut self, attack: Uuid, target: &Target, sample: Vec<Headers>, seconds: f64) -> Vec<Effect> {
        let record = self.detector.attacks().find(|record| record.id == attack);
        let crossed = record.and_then(|record| record.crossing).map(|crossing| crossing.metric);
        let Metric { kind, unit } = crossed.unwrap_or(Metric { kind: Kind::Total, unit: Unit::Pps });
        let sample: Vec<Headers> = sample.into_iter().filter(|headers| kind.includes(headers)).collect();
        let map = self.meter.map();
        let group = map.group_around(target.prefix);
        let is_host = map.host(target.prefix.addr()) == target.prefix;
        let inseparable = group.inseparable;
        let peace = self.baseline.peace(target, &group.name);
        let profile = map.profile(target.prefix);
        let in_force = record.map_or(0, |record| record.wanted_rules().filter(|rule| !rule.last_resort).count());
        let room = profile.rules_max.saturating_sub(in_force);
        if room == 0 {
            let note = format!("routers of profile {} take no more than {in_force} rules for a target", profile.name);
            return self.detector.sample_ready(self.now(), attack, Vec::new(), &note);
        }
        let outcome = miner::mine(&Task {
            target: *target,
            by: unit,
            sample: &sample,
            seconds,
            peace: &peace,
            profile: &profile,
            limits: &miner::Limits { most_rules: self.miner.most_rules.min(room), ..self.miner },
            whitelist: &self.whitelist,
        });
        let mut check = Check::new(&peace, target, unit);
        let mut notes = vec![outcome.note];
        let (mut wanted, mut last_resort) = (Vec::new(), None);
        let limits = |mined: &Mined| mined.action != Action::Discard;
        if outcome.inseparable {
            let is_limited = outcome.rules.iter().any(limits);
            let (rule, words) = beyond_telling(inseparable, target, is_host, is_limited);
            notes.push(words);
            last_resort = rule;
        }
        for mined in outcome.rules {
            if limits(&mined) && inseparable != Inseparable::RateLimit {
                continue;
            }
            if !limits(&mined)
                && let Err(share) = check.add(&mined.rule, self.miner.most_collateral)
            {
                let percent = share * 100.0;
                notes.push(format!("not wanted, it would take {percent:.1} % of the baseline: {}", mined.rule));
                continue;
            }
            let collateral_at_most = check.at_most(&mined.rule);
            wanted.extend(self.narrowed(target, mined, collateral_at_most, (&sample, unit)));
        }
        notes.retain(|words| !words.is_empty());
        wanted.truncate(room);
        wanted.extend(last_resort);
        self.detector.sample_ready(self.now(), attack, wanted, &notes.join("; "))
    }

    /// A rule for a network becomes one for where the attack is, around all that nothing may be announced for.
    fn narrowed(
        &self,
        target: &Target,
        mined: Mined,
        collateral_at_most: f64,
        (sample, unit): (&[Headers], Unit),
    ) -> Vec<MinedRule> {
        let runner_up = mined.runner_up.map(|next| format!("{} {}", next.rule, next.why));
        let whole = MinedRule {
            coverage: mined.coverage,
            mined: MinedRecord {
                collateral: mined.collateral,
                collateral_at_most,
                runner_up: runner_up.unwrap_or_default(),
                known_packets: 0,
            },
            reason: mined.reason,
            rule: mined.rule,
            action: mined.action,
            last_resort: false,
        };
        let map = self.meter.map();
        let whole = MinedRule { action: map.action(target, whole.action), ..whole };
        let longest = map.host(target.prefix.addr()).prefix_len();
        if target.prefix.prefix_len() >= longest {
            return vec![whole];
        }
        let mut exempt = self.whitelist.networks.clone();
        exempt.extend(map.monitored_within(target.prefix));
        let parts = narrow::parts(target, &whole.rule, (sample, unit), longest, &exempt);
        let of_part = |part: narrow::Part| MinedRule {
            reason: format!("{}; {:.1} % of that within {}", whole.reason, part.share * 100.0, part.prefix),
            rule: part.rule,
            coverage: whole.coverage * part.share,
            ..whole.clone()
        };
        parts.into_iter().map(of_part).collect()
    }
}

/// What a group does about what no rule tells from the target's own traffic, in words, and with a rule where that is a last resort. A
/// network is never taken off the net as a whole.
fn beyond_telling(
    inseparable: Inseparable,
    target: &Target,
    is_host: bool,
    is_limited: bool,
) -> (Option<MinedRule>, String) {
    let done = match inseparable {
        Inseparable::RateLimit if is_limited => "it is limited to what the baseline had of it, and not removed",
        Inseparable::RateLimit => "there is no baseline that says to what it could be limited",
        Inseparable::Nothing => "nothing is done about it (inseparable = \"nothing\")",
        Inseparable::Blackhole if !is_host => "a network as a whole is not taken off the net",
        Inseparable::Blackhole => "the host is taken off the net (inseparable = \"blackhole\")",
    };
    let words = format!("what the rules leave cannot be told from the host's own traffic: {done}");
    if inseparable != Inseparable::Blackhole || !is_host {
        return (None, words);
    }
    let rule = MinedRule {
        rule: target.all(),
        // A route is for what goes to a host. Of what comes from it a rule takes all.
        action: if target.direction == Direction::Incoming { Action::Blackhole } else { Action::Discard },
        coverage: 1.0,
        mined: MinedRecord { collateral: 1.0, collateral_at_most: 1.0, ..MinedRecord::default() },
        reason: words.clone(),
        last_resort: true,
    };
    (Some(rule), words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_told_is_the_groups_to_decide() {
        let host = |direction| Target { prefix: "198.18.0.1/32".parse().unwrap(), direction };
        let decided = |inseparable, direction, is_host, is_limited| {
            let (rule, words) = beyond_telling(inseparable, &host(direction), is_host, is_limited);
            (rule.map(|rule| (rule.rule.to_string(), rule.action, rule.last_resort)), words)
        };
        use Direction::{Incoming, Outgoing};
        let off = |rule: &str, action| Some((rule.to_owned(), action, true));
        for (inseparable, direction, is_host, is_limited, rule, says) in [
            (Inseparable::RateLimit, Incoming, true, true, None, "limited to what the baseline had"),
            (Inseparable::RateLimit, Incoming, true, false, None, "no baseline"),
            (Inseparable::Nothing, Incoming, true, true, None, "nothing is done"),
            (Inseparable::Blackhole, Incoming, true, true, off("dst 198.18.0.1/32", Action::Blackhole), "off the net"),
            (Inseparable::Blackhole, Outgoing, true, false, off("src 198.18.0.1/32", Action::Discard), "off the net"),
            (Inseparable::Blackhole, Incoming, false, true, None, "is not taken off the net"),
        ] {
            let (found, words) = decided(inseparable, direction, is_host, is_limited);
            assert_eq!(found, rule, "{inseparable} {direction}");
            assert!(words.contains(says) && words.contains("cannot be told from"), "{words}");
        }
    }
}
