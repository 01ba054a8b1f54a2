//! Who keeps a slot, and who gets one.

use std::sync::LazyLock;

use super::super::tests::{UDP, networks, slab, sum};
use super::*;

static NETWORKS: LazyLock<Networks> = LazyLock::new(networks);
const BASE: u128 = 0x2001_0db8 << 96;

/// Each packet is a burst of its own.
fn slot_v6(owner: &mut Owner, slab: &Slab, address: u128, tick: u32) -> Slot {
    owner.begin_burst();
    slab.find_v6(address).unwrap_or_else(|| match owner.insert_v6(slab, &NETWORKS, address, tick) {
        Found::New(slot) | Found::Evicted(slot) | Found::Known(slot) => slot,
        Found::Full => slab.network(1),
    })
}

/// A packet each.
fn count_each<'a>(owner: &mut Owner, slab: &Slab, hosts: impl Iterator<Item = &'a u128>, tick: u32) {
    for host in hosts {
        count(owner, slab, *host, tick);
    }
}

/// Counts a packet as a worker does; gives the slot.
fn count(owner: &mut Owner, slab: &Slab, address: u128, tick: u32) -> Slot {
    let slot = slot_v6(owner, slab, address, tick);
    owner.count(slab, slab.place(slot, UDP), 100, tick);
    slot
}

#[test]
fn a_scan_does_not_keep_a_heavy_host_out_and_loses_no_count() {
    let slab = slab(1, 146);
    let mut owner = Owner::new();
    let heavy = BASE | 0xffff_ffff;
    let mut last = Slot::NOWHERE;
    let mut moved = 0;
    for scanned in 1..=20_000u128 {
        let slot = slot_v6(&mut owner, &slab, BASE | scanned, 5);
        owner.count(&slab, slab.place(slot, 0), 40, 5);
        // Ten packets to the heavy host for each scanned one.
        for _ in 0..10 {
            let slot = slot_v6(&mut owner, &slab, heavy, 5);
            owner.count(&slab, slab.place(slot, UDP), 100, 5);
            moved += usize::from(slot != last);
            last = slot;
        }
    }
    assert_eq!(moved, 1, "the heavy host keeps its slot");
    assert_eq!(sum(&slab, last), (200_000, 20_000_000));
    let slots = slab.ipv6_blocks().flat_map(|block| (0..256).map(move |index| Slot((block * 256 + index) as u32)));
    let in_slots: u64 = slots.map(|slot| sum(&slab, slot).0).sum();
    assert_eq!(in_slots + sum(&slab, slab.network(1)).0, 220_000, "evicted counts go to the network");
    assert_eq!(owner.used_ipv6_hosts(), 256);
}

#[test]
fn a_reader_notices_that_an_ipv6_slot_changed_hands() {
    let slab = slab(1, 146);
    let mut owner = Owner::new();
    let slot = slot_v6(&mut owner, &slab, BASE | 1, 1);
    slab.set_watch(slot, 7);
    assert_eq!(owner.count(&slab, slab.place(slot, UDP), 1, 1), 7);
    let generation = slab.generation(slot);
    assert_eq!(slab.ipv6_key(slot), Some(BASE | 1));
    assert!(slab.unchanged(slot, generation));
    for scanned in 2..5_000u128 {
        let next = slot_v6(&mut owner, &slab, BASE | scanned, 100);
        owner.count(&slab, slab.place(next, UDP), 1, 100);
    }
    assert_eq!(slab.find_v6(BASE | 1), None);
    assert!(!slab.unchanged(slot, generation));
    assert_eq!(slab.cell(slot, UDP).watch(), 0, "the next host is not watched in its place");
}

/// A full table of hosts that had `before` packets each in each of some ticks; gives the next tick.
fn full_of_busy_hosts(owner: &mut Owner, slab: &Slab, before: u32) -> (Vec<u128>, u32) {
    let mut busy = Vec::new();
    for next in (1..).map(|host| BASE | 0xaaaa << 32 | host) {
        if owner.used_ipv6_hosts() == 256 {
            break;
        }
        if slab.find_v6(next).is_none() && matches!(owner.insert_v6(slab, &NETWORKS, next, 1), Found::New(_)) {
            busy.push(next);
        }
    }
    for tick in 1..10 {
        (0..before).for_each(|_| count_each(owner, slab, busy.iter(), tick));
    }
    busy.retain(|host| slab.find_v6(*host).is_some());
    (busy, 10)
}

#[test]
fn a_host_that_is_attacked_gets_a_slot_among_busy_ones_while_a_scan_goes_on() {
    let slab = slab(1, 146);
    let mut owner = Owner::new();
    let (busy, start) = full_of_busy_hosts(&mut owner, &slab, 20);
    assert!(busy.len() > 200, "{} busy hosts fill the table", busy.len());
    let attacked = BASE | 0xbbbb;
    let (mut scanned, mut without, mut moved, mut last) = (0u128, 0, 0, None);
    for tick in start..start + 20 {
        for _ in 0..20 {
            count_each(&mut owner, &slab, busy.iter(), tick);
            // As many scanned addresses as busy hosts' packets; 2000 packets a tick to the attacked one.
            for _ in 0..busy.len() {
                scanned += 1;
                count(&mut owner, &slab, BASE | 0xcccc << 32 | scanned, tick);
            }
            for _ in 0..100 {
                let slot = count(&mut owner, &slab, attacked, tick);
                if slot == slab.network(1) {
                    without += 1;
                } else {
                    moved += usize::from(last != Some(slot));
                    last = Some(slot);
                }
            }
        }
    }
    assert!(without < 400, "{without} packets of 40,000 found no slot");
    assert!(moved <= 3, "it moved {moved} times");
    let stayed = busy.iter().filter(|host| slab.find_v6(**host).is_some()).count();
    assert!(stayed * 3 > busy.len() * 2, "{stayed} of {} busy hosts are still there", busy.len());
}

#[test]
fn a_busy_past_keeps_no_slot() {
    let slab = slab(1, 146);
    let mut owner = Owner::new();
    let (busy, start) = full_of_busy_hosts(&mut owner, &slab, 1000);
    // From now on each has one packet in ten ticks, and new hosts five a tick.
    let newcomers: Vec<u128> = (1..=150).map(|host| BASE | 0xbbbb << 32 | host).collect();
    for tick in start..start + 100 {
        if tick % 10 == 0 {
            count_each(&mut owner, &slab, busy.iter(), tick);
        }
        count_each(&mut owner, &slab, newcomers.iter().cycle().take(5 * newcomers.len()), tick);
    }
    let inside = newcomers.iter().filter(|host| slab.find_v6(**host).is_some()).count();
    assert!(inside >= 147, "{inside} of {} newcomers have a slot", newcomers.len());
}

#[test]
fn a_slot_is_handed_over_empty_whatever_planes_it_counted_in() {
    let slab = slab(1, 146);
    let mut owner = Owner::new();
    for index in 0..20_000u128 {
        let tick = 1 + (index / 100) as u32;
        let slot = slot_v6(&mut owner, &slab, BASE | (1 + index), tick);
        if slot != slab.network(1) {
            assert_eq!(sum(&slab, slot), (0, 0), "host {index}");
        }
        for plane in [index, index + 7].map(|plane| plane as usize % PLANES) {
            owner.count(&slab, slab.place(slot, plane), 60, tick);
        }
    }
    let slots = slab.ipv6_blocks().flat_map(|block| (0..256).map(move |index| Slot((block * 256 + index) as u32)));
    assert_eq!(slots.map(|slot| sum(&slab, slot).0).sum::<u64>() + sum(&slab, slab.network(1)).0, 40_000);
}

#[test]
fn a_host_in_four_thousand_finds_both_buckets_taken_and_most_are_in_their_first() {
    const HOSTS: usize = 20_000;
    let slab = slab(1, HOSTS);
    let mut owner = Owner::new();
    // By splitmix64: hosts in a row would be spread more evenly than chance does it.
    let mix = |word: u64| (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let host = |index: u64| BASE | u128::from(mix(mix(index.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
    let hosts: Vec<u128> = (1..=HOSTS as u64).map(host).collect();
    let mut first = 0;
    for (count, &host) in (1..).zip(&hosts) {
        owner.begin_burst();
        owner.insert_v6(&slab, &NETWORKS, host, 1);
        first += usize::from(slab.look(slab.first_bucket(host), host).1);
        if count == HOSTS / 2 {
            assert!(first * 100 > count * 86, "{first} of {count} are found by the first look");
        }
    }
    let without = hosts.iter().filter(|&&host| slab.find_v6(host).is_none()).count();
    assert!(without * 2000 < HOSTS, "{without} of {HOSTS} have no slot");
    assert!(first * 100 > HOSTS * 75, "{first} of {HOSTS} are found by the first look");
}

#[test]
fn a_look_finds_a_host_at_each_place_of_a_bucket_and_none_that_shares_half_its_address() {
    let slab = slab(1, 146);
    for place in 0..BUCKET as u128 {
        let (bucket, key) = (Bucket(7), (place + 1) << 64 | (place + 1) << 32);
        let slot = slab.ipv6_slot(7 * BUCKET + place as usize);
        assert_eq!(slab.look(bucket, key), (slab.ipv6_slot(7 * BUCKET + BUCKET - 1), false));
        slab.enter(slot, key);
        assert_eq!(slab.look(bucket, key), (slot, true));
        for bit in 0..128 {
            assert!(!slab.look(bucket, key ^ 1 << bit).1, "bit {bit} of place {place}");
        }
    }
}
