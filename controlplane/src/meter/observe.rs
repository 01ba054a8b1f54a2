//! Which hosts the detector is told of.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use dataplane::packet::Class;

use super::smooth::Step;
use super::{HostRates, Map};
use crate::attack::{Direction, Target, Volumes};
use crate::detector::Observed;

/// Passes a host on to the detector if a threshold is exceeded within the tick, if it is followed, or if it may have too
/// many flows. `came` is what came for it, in and out.
#[inline]
pub(super) fn observe(
    map: &Map,
    followed: Option<&HashSet<Target>>,
    host: impl Into<IpAddr> + Copy,
    came: [Option<&Volumes>; 2],
    rates: &HostRates,
    step: Step,
    observed: &mut Vec<Observed>,
) {
    let seconds = step.seconds;
    for direction in Direction::ALL {
        let came = came[direction as usize];
        let target = || Target { prefix: map.host(host.into()), direction };
        let follow = followed.is_some_and(|followed| followed.contains(&target()))
            || map.may_have_flows(direction, || rates.rates[direction as usize].of(&Class::ALL).0);
        if !follow && !came.is_some_and(|all| map.may_exceed(direction, all.total(), seconds)) {
            continue;
        }
        let all = came.copied().unwrap_or_default();
        let group = map.group(host.into());
        let thresholds = group.thresholds_of(host.into(), direction);
        // What was protected a moment ago may still be counted: by a worker in the middle of its burst.
        if follow || thresholds.worst(&all, seconds).is_some() && map.network(host.into()).is_some() {
            let (last_resort, group) = (group.last_resort, Arc::clone(&group.name));
            observed.push(Observed {
                target: target(),
                group,
                last_resort,
                thresholds,
                seconds,
                all,
                matched: Volumes::default(),
                load: None,
            });
        }
    }
}
