//! The life of a whole Levee in memory, over a long random history of attacks: detector, mitigation, what waits for the disk
//! and what waits for it are the real ones; disk, engine and packets are models. One world is disturbed in every way, its
//! twin has the same traffic and no trouble. Both must end in the same state.
//!
//! `LEVEE_SEEDS=100000` runs more histories than the quick test, `LEVEE_SEED=17` one alone.

mod daemon;
mod disk;
mod world;

use world::World;

/// Histories of the quick test.
const SEEDS: u64 = 2_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// One history, with and without trouble.
fn run(seed: u64) {
    let (mut disturbed, mut quiet) = (World::new(seed, true), World::new(seed, false));
    let ends = [&mut disturbed, &mut quiet].map(|world| {
        world.history();
        world.peace();
        let peace = world.state();
        world.last_attacks();
        (peace, world.state())
    });
    let [(peace, attacked), (quiet_peace, quiet_attacked)] = ends;
    assert_eq!(peace, quiet_peace, "in peace, after the history");
    assert!(peace.is_empty(), "everything is over in peace: {peace:?}");
    assert_eq!(attacked, quiet_attacked, "under the last attacks");
    assert!(!attacked.is_empty(), "attacks are fought: {attacked:?}");
    assert!(!quiet.was_disturbed());
}

#[test]
fn whatever_happens_the_end_is_the_same() {
    let seeds = match number("LEVEE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LEVEE_SEEDS").unwrap_or(SEEDS),
    };
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let take = || Some(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).filter(|seed| *seed < seeds.end);
    let work = || {
        while let Some(seed) = take() {
            let failed = std::panic::catch_unwind(|| run(seed)).is_err();
            assert!(!failed, "see above; again with LEVEE_SEED={seed}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(work);
        }
    });
}
