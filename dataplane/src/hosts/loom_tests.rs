//! Models of a slab: one worker counts and hands out, one reader looks, in every order that the memory model allows.
//! Each assertion is a promise of the table in the parent's documentation.

use std::sync::{Arc as StdArc, LazyLock};

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::sync::explore;

const PLANE: usize = 0;

fn slab(ipv4_blocks: usize) -> Slab {
    Slab::new(
        Layout { networks: 1, rules: 0, ipv4_blocks, ipv6_hosts: 1, flow_ticks: 0, ipv6_prefix_length: 128 },
        [1, 2],
    )
    .expect("memory")
}

/// Packets and bytes of a slot.
fn counts(slab: &Slab, slot: Slot) -> (u32, u64) {
    let cell = slab.cell(slot, PLANE);
    (cell.packets(), cell.bytes())
}

fn count(owner: &Owner, slab: &Slab, slot: Slot, bytes: u32, tick: u32) {
    owner.count(slab, slab.place(slot, PLANE), bytes, tick);
}

fn slot(found: Found) -> Slot {
    match found {
        Found::New(slot) | Found::Evicted(slot) | Found::Known(slot) => slot,
        Found::Full => panic!("there is a slot"),
    }
}

#[test]
fn differences_add_up_to_what_was_counted() {
    explore(|| {
        let slab = Arc::new(slab(0));
        let network = slab.network(0);
        let worker = {
            let slab = Arc::clone(&slab);
            thread::spawn(move || {
                let owner = Owner::new();
                for (bytes, tick) in [(100, 1), (10, 1), (1, 2)] {
                    count(&owner, &slab, network, bytes, tick);
                }
            })
        };
        let (mut before, mut sum) = ((0, 0), (0, 0));
        let mut look = || {
            let now = counts(&slab, network);
            sum.0 += u64::from(now.0.wrapping_sub(before.0));
            sum.1 += u128::from(now.1.wrapping_sub(before.1));
            before = now;
            assert!(sum.0 <= 3 && sum.1 <= 111, "more than was counted: {sum:?}");
            sum
        };
        for _ in 0..2 {
            let stamp = slab.head(network.block()).stamp(PLANE);
            let least = [(0, 0), (1, 100), (3, 111)][stamp as usize];
            let seen = look();
            assert!(seen.0 >= least.0 && seen.1 >= least.1, "stamped {stamp}, but only {seen:?} came");
        }
        worker.join().expect("the worker");
        assert_eq!(look(), (3, 111));
    });
}

#[test]
fn a_mark_and_a_stamp_do_not_undo_each_other() {
    explore(|| {
        let slab = Arc::new(slab(0));
        let network = slab.network(0);
        let worker = {
            let slab = Arc::clone(&slab);
            thread::spawn(move || count(&Owner::new(), &slab, network, 100, 1))
        };
        slab.set_watch(network, 7);
        worker.join().expect("the worker");
        let cell = slab.cell(network, PLANE);
        assert_eq!((cell.watch(), cell.stamp()), (7, 1));
    });
}

#[test]
fn an_ipv6_slot_that_changes_hands_is_of_one_host_or_seen_to_change() {
    const FIRST: u128 = 0x2001_0db8_0000_000a_0000_0000_0000_000a;
    const SECOND: u128 = 0x2001_0db8_0000_000b_0000_0000_0000_000b;
    let networks = StdArc::new(Networks::new(&["2001:db8::/32".parse().expect("net")]).expect("networks"));
    explore(move || {
        let slab = Arc::new(slab(0));
        let mut owner = Owner::new();
        let place = slot(owner.insert_v6(&slab, &networks, FIRST, 1));
        count(&owner, &slab, place, 100, 1);
        let worker = {
            let (slab, networks) = (Arc::clone(&slab), StdArc::clone(&networks));
            thread::spawn(move || {
                count(&owner, &slab, place, 100, 1);
                owner.begin_burst();
                assert_eq!(owner.insert_v6(&slab, &networks, SECOND, LATER), Found::Evicted(place));
                count(&owner, &slab, place, 7, LATER);
            })
        };
        let generation = slab.generation(place);
        let key = slab.ipv6_key(place);
        let (packets, bytes) = counts(&slab, place);
        if slab.unchanged(place, generation) {
            match key {
                Some(FIRST) => assert!((1..=2).contains(&packets) && [100, 200].contains(&bytes)),
                Some(SECOND) => {
                    assert!(packets <= 1 && [0, 7].contains(&bytes), "{packets} packets, {bytes} bytes");
                    assert_eq!(counts(&slab, slab.network(0)), (2, 200), "moved before it is anyone else's");
                }
                torn => panic!("{torn:x?}"),
            }
        }
        worker.join().expect("the worker");
        assert_eq!((slab.ipv6_key(place), counts(&slab, place)), (Some(SECOND), (1, 7)));
        assert_eq!(counts(&slab, slab.network(0)), (2, 200), "nothing is lost");
    });
}

/// Nobody is evicted here.
static NONE: LazyLock<Networks> = LazyLock::new(|| Networks::new(&[]).expect("networks"));

/// Two /24s, and a tick late enough for the second to get the first one's block.
const FIRST: u32 = 1;
const SECOND: u32 = 2;
const LATER: u32 = 1 + SILENT_TICKS;

#[test]
fn a_block_that_the_directory_gives_is_for_that_24() {
    explore(|| {
        let slab = Arc::new(slab(1));
        let worker = {
            let slab = Arc::clone(&slab);
            thread::spawn(move || {
                let mut owner = Owner::new();
                let place = slot(owner.insert_v4(&slab, &NONE, FIRST << 8, 1));
                count(&owner, &slab, place, 100, 1);
            })
        };
        if let Some(place) = slab.find_v4(FIRST << 8) {
            let generation = slab.generation(place);
            assert_eq!(slab.head(place.block()).key(), FIRST);
            assert!(slab.unchanged(place, generation));
        }
        worker.join().expect("the worker");
    });
}

/// A block that was silent gets its second /24 while `reader` looks.
fn explore_reuse(reader: impl Fn(&Slab) + Send + Sync + 'static) {
    explore(move || {
        let slab = Arc::new(slab(1));
        let mut owner = Owner::new();
        let place = slot(owner.insert_v4(&slab, &NONE, FIRST << 8, 1));
        count(&owner, &slab, place, 100, 1);
        let worker = {
            let slab = Arc::clone(&slab);
            thread::spawn(move || {
                assert_eq!(owner.insert_v4(&slab, &NONE, SECOND << 8, LATER), Found::New(place));
                count(&owner, &slab, place, 7, LATER);
            })
        };
        reader(&slab);
        worker.join().expect("the worker");
        assert_eq!((slab.find_v4(FIRST << 8), slab.find_v4(SECOND << 8)), (None, Some(place)));
        assert_eq!(counts(&slab, place), (2, 107), "counters go on");
    });
}

#[test]
fn a_reused_block_found_for_its_old_24_is_not_mistaken() {
    explore_reuse(|slab| {
        let Some(place) = slab.find_v4(FIRST << 8) else { return };
        let generation = slab.generation(place);
        let key = slab.head(place.block()).key();
        let (packets, bytes) = counts(slab, place);
        if slab.unchanged(place, generation) {
            match key {
                FIRST => assert_eq!((packets, bytes), (1, 100), "the second /24's under the first one's key"),
                SECOND => assert!(packets >= 1 && bytes >= 100),
                other => panic!("{other:x}"),
            }
        }
    });
}

#[test]
fn a_reused_block_found_for_its_new_24_is_no_longer_the_old_ones() {
    explore_reuse(|slab| {
        let Some(place) = slab.find_v4(SECOND << 8) else { return };
        let generation = slab.generation(place);
        assert_eq!(slab.head(place.block()).key(), SECOND);
        assert!(slab.unchanged(place, generation));
        assert_eq!(slab.find_v4(FIRST << 8), None);
    });
}

/// The meter asks each block whether it was touched, and then whose it is.
#[test]
fn a_touched_block_is_of_whom_touched_it() {
    explore_reuse(|slab| {
        let head = slab.head(slab.ipv4_blocks().start);
        let stamp = head.stamp(PLANE);
        let key = head.key();
        if stamp == LATER {
            assert_eq!(key, SECOND);
        }
    });
}

/// The meter reads the groups that are stamped, of blocks whose head is: none is left out, for no longer than it may be late.
#[test]
fn what_a_head_tells_its_groups_tell() {
    explore(|| {
        let slab = Arc::new(slab(0));
        let network = slab.network(0);
        let worker = {
            let slab = Arc::clone(&slab);
            thread::spawn(move || {
                let owner = Owner::new();
                for tick in [1, 2] {
                    count(&owner, &slab, network, 100, tick);
                }
            })
        };
        let stamp = slab.head(network.block()).stamp(PLANE);
        let (cells, of_group) = slab.groups(network.block(), PLANE).next().expect("a group");
        assert!(u32::from(of_group) >= stamp, "the head is stamped {stamp}, its group {of_group}");
        assert!(cells[0].packets() >= stamp, "stamped {stamp}, but only {} came", cells[0].packets());
        worker.join().expect("the worker");
    });
}
