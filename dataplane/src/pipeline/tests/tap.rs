//! The always-on tap.

use super::*;
use crate::tap::{RING, TAP_ROOM};

#[test]
fn the_tap_takes_one_packet_in_so_many_of_all_traffic_and_says_so() {
    let mut rig = Rig::new();
    let frames: Vec<Vec<u8>> = (0..40_000u32).map(|index| udp(THEIRS, OURS, index as u16, 0)).collect();
    rig.pipeline.shared().tap.set_one_in(0);
    rig.burst(&frames);
    assert_eq!(rig.pipeline.shared().ring.pop(), None, "it is off");
    let mut rig = Rig::new();
    rig.pipeline.shared().tap.set_one_in(100);
    rig.burst(&frames);
    let shared = rig.pipeline.shared();
    let samples: Vec<Sample> = std::iter::from_fn(|| shared.ring.pop()).collect();
    assert!((350..450).contains(&samples.len()), "{} of 400", samples.len());
    assert_eq!(shared.tap.taken(), samples.len() as u64);
    let mut places = [0u32; 4];
    for sample in &samples {
        assert_eq!((sample.one_in(), sample.unparsed(), sample.tsc), (Some(100), None, 9));
        let Upper::Ports { source, .. } = parse(sample.data()).expect("a packet").upper else { panic!("UDP") };
        places[usize::from(source) % BURST_MAX * 4 / BURST_MAX] += 1;
    }
    assert!(places.iter().all(|&taken| taken > 50), "from all over the burst: {places:?}");
}

#[test]
fn the_tap_leaves_room_for_captures_and_counts_what_it_has_none_for() {
    let mut rig = Rig::new();
    rig.pipeline.shared().tap.set_one_in(1);
    let frames = vec![udp(THEIRS, OURS, 1, 0); RING + 11];
    rig.burst(&frames);
    let shared = rig.pipeline.shared();
    assert_eq!(shared.tap.taken(), TAP_ROOM as u64);
    // The first packet is where it learns how many to take.
    assert_eq!(shared.tap.skipped(), (RING + 10 - TAP_ROOM) as u64);
    assert_eq!(shared.stats.lost[Lost::RingFull as usize].get(), 0);
    assert!((TAP_ROOM..RING).all(|_| shared.ring.push(&Sample::new(1, 0, &[], 0))), "the rest is free");
}
