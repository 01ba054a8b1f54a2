//! Daemons that die at every point that a life passes: see `controlplane::crash`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use controlplane::crash::Step;

/// An order to die for each time that an undisturbed life, by its log, passes a point of these steps; at most so many for one point.
#[track_caller]
pub(crate) fn orders(log: &str, steps: &[Step], times_max: usize) -> Vec<String> {
    let mut points: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, point) in log.lines().filter_map(|line| line.split_once("passes ")) {
        if steps.iter().any(|step| is_of(point, step)) {
            *points.entry(point.trim()).or_default() += 1;
        }
    }
    for step in steps {
        assert!(points.keys().any(|point| is_of(point, step)), "{step:?} is never passed: {points:?}");
    }
    points
        .into_iter()
        .flat_map(|(point, count)| (1..=count.min(times_max)).map(move |time| format!("{point}:{time}")))
        .collect()
}

fn is_of(point: &str, step: &Step) -> bool {
    point.starts_with(&format!("{}:", step.name()))
}

/// A life for each order, side by side at these sites. `live` gives whether the daemon died; how many did.
pub(crate) fn live_all<S: Send>(
    sites: &mut [S],
    orders: Vec<String>,
    live: impl Fn(&mut S, &str) -> bool + Sync,
) -> usize {
    let (orders, deaths) = (Mutex::new(orders), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for site in sites {
            scope.spawn(|| {
                loop {
                    let Some(order) = orders.lock().unwrap().pop() else { return };
                    deaths.fetch_add(usize::from(live(site, &order)), Ordering::Relaxed);
                }
            });
        }
    });
    deaths.into_inner()
}
