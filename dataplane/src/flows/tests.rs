//! The error of estimates, and what a line does with repeats, epochs, hosts and workers.

use std::net::Ipv6Addr;

use super::*;

const HOST: u32 = 0xc612_0001;
const EPOCH: u32 = 7;
const TICKS: u32 = 10;

fn layout() -> Layout {
    Layout { networks: 1, rules: 1, ipv4_blocks: 1, ipv6_hosts: 256, flow_ticks: TICKS, ipv6_prefix_length: 128 }
}

fn flows(seed: u64) -> Flows {
    Flows::new(&layout(), [seed.wrapping_mul(0x2545_f491_4f6c_dd1d), seed.wrapping_mul(0xd134_2543_de82_ef95)])
        .expect("memory")
}

fn slot() -> Slot {
    Slot(layout().host_slots().start + 1)
}

/// The flow number `index` towards a host: a port scan from neighbouring sources, as regular as traffic can be.
fn flow(index: u32) -> Flow<u32> {
    Flow {
        source: 0xcb00_7100 + (index >> 16),
        destination: HOST,
        upper: 17 << 32 | u64::from(index & 0xffff) << 16 | 53,
    }
}

fn count(flows: &Flows, epoch: u32, indices: Range<u32>) {
    for index in indices {
        let hashed = flows.hash_v4(&flow(index));
        flows.count(flows.place(flows.side(epoch, false), slot(), hashed.destination), epoch, hashed.flow);
    }
}

fn read(flows: &Flows, epoch: u32) -> Registers {
    flows.read(slot(), false, epoch, IpAddr::V4(HOST.into()))
}

/// Estimates of `count` flows under `seeds` seeds: their bias and their standard error, as shares of the truth.
fn errors(count: u32, seeds: u64) -> (f64, f64) {
    let error = |seed| {
        let flows = flows(seed + 1);
        super::tests::count(&flows, EPOCH, 0..count);
        read(&flows, EPOCH).estimate() / f64::from(count) - 1.0
    };
    let errors: Vec<f64> = (0..seeds).map(error).collect();
    let mean = |f: fn(&f64) -> f64| errors.iter().map(f).sum::<f64>() / seeds as f64;
    // The distribution has a longer tail above, as of a gamma distribution.
    let outside = errors.iter().filter(|error| error.abs() > 3.0 * STANDARD_ERROR).count();
    assert!(outside as u64 <= 1 + seeds / 100, "{count} flows: {outside} of {seeds} are off by more than three sigma");
    (mean(|error| *error), mean(|error| error * error).sqrt())
}

#[test]
#[cfg_attr(miri, ignore = "too many steps")]
fn estimates_have_the_stated_error_from_ten_flows_to_the_end_of_the_range() {
    for (count, seeds) in
        [(10, 400), (100, 400), (1000, 400), (10_000, 200), (100_000, 60), (1_000_000, 30), (RANGE as u32, 20)]
    {
        let (bias, error) = errors(count, seeds);
        let of_the_mean = STANDARD_ERROR / (seeds as f64).sqrt();
        assert!(bias.abs() < 3.0 * of_the_mean, "{count} flows: bias {bias:.4}");
        // The standard error of a standard error.
        let most = STANDARD_ERROR * (1.0 + 3.0 / (2.0 * seeds as f64).sqrt());
        assert!(error < most, "{count} flows: standard error {error:.4}, at most {most:.4}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "too many steps")]
fn saturated_registers_end_the_range_and_not_before() {
    let (bias, error) = errors(4_000_000, 8);
    assert!(bias.abs() < 0.13 && error < 0.2, "bias {bias:.4}, standard error {error:.4}");
    assert_eq!(Registers([u64::MAX; WORDS]).estimate(), ESTIMATE_MAX);
    assert_eq!(Registers::default().estimate(), 0.0);
}

#[test]
#[cfg_attr(miri, ignore = "too many steps")]
fn a_flow_counts_once_however_often_it_comes() {
    let flows = flows(1);
    count(&flows, EPOCH, 0..1);
    let one = read(&flows, EPOCH);
    assert!((one.estimate() - 1.0).abs() < 0.01, "{}", one.estimate());
    for _ in 0..1000 {
        count(&flows, EPOCH, 0..1);
    }
    assert_eq!(read(&flows, EPOCH), one);
}

#[test]
fn each_field_of_a_flow_tells_it_apart() {
    let flows = flows(1);
    let four = flow(0);
    let other = [
        Flow { source: four.source + 1, ..four },
        Flow { destination: four.destination + 1, ..four },
        Flow { upper: four.upper + 1, ..four },
        Flow { upper: four.upper + (1 << 32), ..four },
    ];
    assert!(other.iter().all(|flow| flows.hash_v4(flow).flow != flows.hash_v4(&four).flow));
    let six = Flow { source: 1u128 << 96, destination: 1u128 << 64, upper: 1 };
    let other = [
        Flow { source: six.source + 1, ..six },
        Flow { source: six.source + (1 << 64), ..six },
        Flow { destination: six.destination + 1, ..six },
        Flow { upper: six.upper + 1, ..six },
        Flow { source: six.destination, destination: six.source, ..six },
    ];
    assert!(other.iter().all(|flow| flows.hash_v6(flow).flow != flows.hash_v6(&six).flow));
}

#[test]
#[cfg_attr(miri, ignore = "too many steps")]
fn a_new_epoch_starts_at_nothing_while_the_last_one_can_still_be_read() {
    let flows = flows(1);
    assert_eq!((flows.epoch(69), flows.epoch(70), flows.epoch(79), flows.epoch(80)), (6, 7, 7, 8));
    count(&flows, EPOCH, 0..1000);
    let complete = read(&flows, EPOCH);
    assert_eq!(read(&flows, EPOCH + 1), Registers::default());
    count(&flows, EPOCH + 1, 0..10);
    assert!((read(&flows, EPOCH + 1).estimate() - 10.0).abs() < 4.0);
    assert_eq!(read(&flows, EPOCH), complete);
    // The one after next takes the line of this one.
    count(&flows, EPOCH + 2, 0..10);
    assert_eq!(read(&flows, EPOCH), Registers::default());
    assert_eq!(read(&flows, EPOCH + 2), read(&flows, EPOCH + 1));
}

#[test]
#[cfg_attr(miri, ignore = "too many steps")]
fn a_slot_that_changes_hands_brings_no_flows_along() {
    let flows = flows(1);
    count(&flows, EPOCH, 0..1000);
    let next = Flow { destination: HOST + 256, ..flow(0) };
    let hashed = flows.hash_v4(&next);
    flows.count(flows.place(flows.side(EPOCH, false), slot(), hashed.destination), EPOCH, hashed.flow);
    assert_eq!(read(&flows, EPOCH), Registers::default());
    let next = flows.read(slot(), false, EPOCH, IpAddr::V4(next.destination.into())).estimate();
    assert!((next - 1.0).abs() < 0.01, "{next}");
}

#[test]
fn directions_hosts_and_families_have_lines_of_their_own() {
    let flows = flows(1);
    count(&flows, EPOCH, 0..100);
    assert_eq!(flows.read(slot(), true, EPOCH, IpAddr::V4(HOST.into())), Registers::default());
    let six = Flow { source: 1, destination: 0x2001_0db8 << 96 | 5, upper: 17 << 32 };
    let hashed = flows.hash_v6(&six);
    let last = Slot(layout().host_slots().end - 1);
    flows.count(flows.place(flows.side(EPOCH, true), last, hashed.source), EPOCH, hashed.flow);
    let of = |address: u128| flows.read(last, true, EPOCH, Ipv6Addr::from(address).into());
    assert!((of(six.source).estimate() - 1.0).abs() < 0.01);
    assert_eq!(of(six.destination), Registers::default());
    for nobody in [Slot::NOWHERE, Slot(layout().host_slots().start - 1), Slot(layout().host_slots().end)] {
        assert_eq!(flows.place(flows.side(EPOCH, false), nobody, HOST), Place::NOWHERE);
    }
    flows.count(Place::NOWHERE, EPOCH, 1);
}

#[test]
#[cfg_attr(miri, ignore = "too many steps")]
fn addresses_of_one_ipv6_prefix_share_a_line_and_are_flows_of_their_own() {
    let prefixes = Layout { ipv6_prefix_length: 64, ..layout() };
    let flows = Flows::new(&prefixes, [1, 2]).expect("memory");
    let (host, far) = (0x2001_0db8 << 96, 0x2001_0db9 << 96 | 5);
    for address in 0..500 {
        let hashed = flows.hash_v6(&Flow { source: host | address, destination: far, upper: 17 << 32 });
        flows.count(flows.place(flows.side(EPOCH, true), slot(), hashed.source), EPOCH, hashed.flow);
        let hashed = flows.hash_v6(&Flow { source: far, destination: host | address, upper: 17 << 32 });
        flows.count(flows.place(flows.side(EPOCH, false), slot(), hashed.destination), EPOCH, hashed.flow);
    }
    for outgoing in [false, true] {
        let of = |address: u128| flows.read(slot(), outgoing, EPOCH, Ipv6Addr::from(address).into());
        let estimate = of(host).estimate();
        assert!((estimate / 500.0 - 1.0).abs() < 3.0 * STANDARD_ERROR, "{estimate}");
        assert_eq!(of(host | 1 << 64), Registers::default(), "another prefix");
    }
}

#[test]
#[cfg_attr(miri, ignore = "too many steps")]
fn workers_sketches_merge_to_that_of_one_worker() {
    let [one, two, all] = [(); 3].map(|()| flows(9));
    count(&one, EPOCH, 0..6000);
    count(&two, EPOCH, 4000..10_000);
    count(&all, EPOCH, 0..10_000);
    let mut merged = read(&one, EPOCH);
    merged.merge(&read(&two, EPOCH));
    assert_eq!(merged, read(&all, EPOCH));
}

#[test]
fn memory_is_taken_only_where_flows_are_counted() {
    let off = Layout { flow_ticks: 0, ..layout() };
    assert_eq!(Flows::bytes(&off), 0);
    assert!(!Flows::new(&off, [1, 2]).expect("no memory").is_on());
    // 256 slots of the one block and 512 for 256 IPv6 hosts, two directions, two epochs.
    assert_eq!(Flows::bytes(&layout()), 768 * 4 * 64);
    assert_eq!((layout().parts().flows, off.parts().flows), (Flows::bytes(&layout()), 0));
}

#[test]
#[cfg_attr(miri, ignore = "too many steps")]
fn a_reader_never_sees_a_line_under_a_tag_that_is_not_its_own() {
    let line = Line::default();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Filled from behind and read from the front: whoever met a filled word finds the words behind it filled.
            for tag in 1..300_000u64 {
                line.begin(tag);
                line.words.iter().rev().for_each(|word| word.store(tag, Ordering::Relaxed));
                // Time for a reader to get through, now and then.
                (0..tag % 64).for_each(|_| std::hint::spin_loop());
            }
            stop.store(true, Ordering::Relaxed);
        });
        let mut reads = 0;
        while !stop.load(Ordering::Relaxed) {
            let tag = line.tag.load(Ordering::Relaxed);
            if tag == NO_TAG {
                continue;
            }
            if let Some(Registers(words)) = line.read(tag) {
                reads += 1;
                let filled = words.iter().skip_while(|&&word| word == 0);
                assert!(filled.copied().all(|word| word == tag), "{words:?} under {tag}");
            }
        }
        assert!(reads > 0, "the reader never caught a line between two changes");
    });
}

/// What is left of the errors where many hosts' estimates are summed up.
#[test]
#[cfg_attr(miri, ignore = "too many steps")]
fn the_mean_of_many_estimates_is_less_than_one_and_a_half_percent_too_high() {
    let flows = flows(5);
    for (count, hosts) in [(1, 20_000), (10, 20_000), (100, 20_000), (1000, 10_000)] {
        let estimate = |host: u32| {
            let line = Line::default();
            line.begin(1);
            for index in 0..count {
                line.add(flows.hash_v4(&Flow { destination: HOST + host, ..flow(index) }).flow);
            }
            line.read(1).expect("its tag").estimate()
        };
        let bias = (0..hosts).map(estimate).sum::<f64>() / (f64::from(hosts) * f64::from(count)) - 1.0;
        assert!(bias > 0.0 && bias < 0.015, "{count} flows: {bias:.4}");
    }
}
