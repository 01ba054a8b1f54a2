//! From a full capture to the rules that are wanted: mined against the baseline, held against it once more, narrowed to where in a
//! network the attack is.

use dataplane::packet::Headers;
use dataplane::rule::Action;
use uuid::Uuid;

use super::Control;
use crate::attack::{Kind, Metric, Target, Unit};
use crate::baseline::Check;
use crate::detector::{Effect, MinedRule};
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
        let peace = self.baseline.peace(target, &self.group_of(target.prefix.addr()));
        let outcome = miner::mine(&Task {
            target: *target,
            by: unit,
            sample: &sample,
            seconds,
            peace: &peace,
            profile: &self.meter.map().profile(target.prefix),
            limits: &self.miner,
            whitelist: &self.whitelist,
        });
        let mut check = Check::new(&peace, target, unit);
        let (mut wanted, mut note) = (Vec::new(), outcome.note);
        for mined in outcome.rules {
            if mined.action == Action::Discard
                && let Err(share) = check.add(&mined.rule, self.miner.most_collateral)
            {
                let percent = share * 100.0;
                let words = format!("not wanted, it would take {percent:.1} % of the baseline: {}", mined.rule);
                note = if note.is_empty() { words } else { format!("{note}; {words}") };
                continue;
            }
            let collateral_at_most = check.at_most(&mined.rule);
            wanted.extend(self.narrowed(target, mined, collateral_at_most, (&sample, unit)));
        }
        self.detector.sample_ready(self.now(), attack, wanted, &note)
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
        };
        let map = self.meter.map();
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
