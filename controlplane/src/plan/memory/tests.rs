//! What fits and what does not, by numbers.

use super::*;

fn need(text: &str) -> Need {
    let ports = "[[ports]]\ndevice = \"net_null0\"\ncores = [1, 2]\n";
    Need::of(&crate::config::parse("levee.toml", format!("networks = [\"10.0.0.0/8\"]\n{ports}{text}")).expect("good"))
}

fn machine(mib: u64, huge_pages: u64) -> Machine {
    Machine { available: mib * MIB, huge_pages }
}

fn keys(misfits: &[Misfit]) -> Vec<&str> {
    misfits.iter().map(|misfit| misfit.key).collect()
}

#[test]
fn workers_tables_are_counted_for_each_worker_and_the_parts_make_the_whole() {
    let need = need("");
    assert_eq!((need.workers, need.layout.ipv4_blocks), (2, 4096));
    let parts = need.layout.parts();
    // 80 KiB, stamps of groups and a head of 128 bytes for 4096 blocks; 20 cells and 41 bytes beside for three quarters
    // more than 65,536 hosts.
    assert_eq!(parts.ipv4_blocks, 4096 * (80 * 1024 + 20 * 32 * 2 + 128));
    assert_eq!(parts.ipv6_hosts, 114_688 * (320 + 41));
    assert_eq!(parts.directory, 32 << 20);
    let all: usize = need.layout.tables().iter().sum();
    assert_eq!(parts.ipv4_blocks + parts.ipv6_hosts + parts.directory + parts.rest, all);
    let table = need.table(&machine(16_384, 0));
    for (mib, what) in
        [(651, "IPv4 blocks, 4096 for each of 2"), (79, "hashed hosts"), (512, "DPDK"), (64, "directory")]
    {
        assert!(table.lines().any(|line| line.trim_start().starts_with(&format!("{mib} MiB  {what}"))), "{table}");
    }
}

#[test]
fn each_key_that_does_not_fit_is_named_with_a_number_that_does() {
    assert_eq!(need("").misfits(&machine(16_384, 0)), []);

    let misfits = need("[dpdk]\nmbufs = 524288\n").misfits(&machine(16_384, 0));
    assert_eq!(keys(&misfits), ["dpdk.memory_mb"]);
    let right: u64 = misfits[0].hint.split(&['=', '`']).nth(2).unwrap().trim().parse().unwrap();
    assert_eq!(need(&format!("[dpdk]\nmbufs = 524288\nmemory_mb = {right}\n")).misfits(&machine(16_384, 0)), []);

    let largest = |misfit: &Misfit| -> u64 { misfit.hint.split(' ').nth(2).unwrap().parse().unwrap() };
    for (key, number) in [("ipv4_blocks", 64_000u64), ("ipv6_hosts", 16_777_216)] {
        let with = |number: u64| need(&format!("[tables]\n{key} = {number}\n")).misfits(&machine(8192, 0));
        let misfits = with(number);
        assert_eq!(keys(&misfits), [format!("tables.{key}")]);
        let right = largest(&misfits[0]);
        assert_eq!(with(right), [], "{key} = {right}");
        assert_ne!(with(right + 1), [], "{key} = {right}: more would fit");
    }
    assert_eq!(keys(&need("").misfits(&machine(100, 0))).len(), 1);
}

#[test]
fn huge_pages_are_taken_by_dpdk_and_then_by_whole_tables() {
    let always = need("[dpdk]\nhuge_pages = \"always\"\n");
    let need = need("");
    let without = need.ordinary(&machine(16_384, 0));
    assert_eq!(without, need.total());
    // Too few for DPDK and for a worker's counters, enough for stamps of its groups and one directory.
    assert_eq!(need.ordinary(&machine(16_384, 20)), without - (6 + 32) * MIB);
    // 512 MiB are 256 pages.
    assert_eq!(need.ordinary(&machine(16_384, 256)), without - 512 * MIB);
    assert!(need.ordinary(&machine(16_384, 4096)) < without - 512 * MIB - 2 * need.layout.parts().ipv4_blocks as u64);
    assert_eq!(keys(&always.misfits(&machine(16_384, 100))), ["dpdk.memory_mb"]);
    assert_eq!(always.misfits(&machine(16_384, 256)), []);
}

#[test]
fn a_daemon_that_is_replaced_gives_its_memory_back() {
    let machine = machine(100, 1).without(std::process::id() as i32);
    assert!(machine.available > 100 * MIB);
    assert_eq!(kib("A:  7 kB\nMemAvailable:   12 kB\n", "MemAvailable:"), Some(12 << 10));
}
