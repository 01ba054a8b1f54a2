//! Scratch: scenarios.
use super::*;
use dataplane::packet::{Class, Upper, fragment};
struct R(u64);
impl R {
    fn n(&mut self) -> u64 { self.0 = self.0.wrapping_add(0x9e3779b97f4a7c15); let mut z = self.0; z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9); z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb); z ^ (z >> 31) }
    fn r(&mut self, a: u32, b: u32) -> u32 { a + (self.n() % u64::from(b - a + 1)) as u32 }
    fn p(&mut self) -> f64 { (self.n() >> 11) as f64 / (1u64 << 53) as f64 }
    fn of<T: Copy>(&mut self, v: &[T]) -> T { v[(self.n() % v.len() as u64) as usize] }
}
const HOST: u32 = 0xc000_0205;
fn pk(src: u32, proto: u8, len: u32, upper: Upper) -> Headers {
    Headers { addresses: Addresses::V4 { source: src, destination: HOST }, protocol: proto, class: Class::Other, fragment: fragment::DONT, dscp: 0, ttl: 60, ip_length: len, flow_label: 0, upper }
}
fn udp(src: u32, sp: u32, dp: u32, len: u32) -> Headers { pk(src, 17, len, Upper::Ports { source: sp as u16, destination: dp as u16 }) }
fn tcp(src: u32, sp: u32, dp: u32, f: u16, len: u32) -> Headers { pk(src, 6, len, Upper::Tcp { source: sp as u16, destination: dp as u16, flags: f }) }
fn client(r: &mut R) -> u32 { 0x5000_0000 + (r.r(0, 299) * 7919 % 65536) * 251 }
fn anyip(r: &mut R) -> u32 { r.n() as u32 | 0x0100_0000 }
fn eph(r: &mut R) -> u32 { r.r(32768, 60999) }
fn legit(kind: &str, r: &mut R) -> Headers {
    let c = client(r); let p = r.p();
    match kind {
        "web" => { let e = eph(r);
            if p < 0.04 { let l = r.of(&[60, 52, 64]); tcp(c, e, 443, 2, l) } else if p < 0.55 { tcp(c, e, 443, 0x10, 52) } else if p < 0.7 { let l = r.r(120, 900); tcp(c, e, 443, 0x18, l) } else if p < 0.74 { tcp(c, e, 443, 0x11, 52) } else if p < 0.75 { tcp(c, e, 443, 4, 40) } else if p < 0.8 { let l = r.r(200, 800); tcp(c, e, 80, 0x18, l) } else if p < 0.83 { let l = r.r(1200, 1280); udp(c, e, 443, l) } else if p < 0.99 { let l = r.r(50, 120); udp(c, e, 443, l) } else { pk(c, 1, 84, Upper::Icmp { kind: 8, code: 0 }) } }
        "dns" => { let e = r.r(1024, 65535); let l = r.r(56, 95); if p < 0.95 { udp(c, e, 53, l) } else if p < 0.96 { tcp(c, e, 53, 2, 60) } else { tcp(c, e, 53, 0x18, l + 40) } }
        "resolver" => { let e = eph(r); if p < 0.4 { let res = r.of(&[0x0808_0808, 0x0101_0101, 0xc000_0263]); let l = r.of(&[80, 120, 200, 300, 450]) + r.r(0, 60); udp(res, 53, e, l) } else if p < 0.7 { tcp(c, 443, e, 0x10, 1500) } else if p < 0.75 { tcp(c, 443, e, 0x12, 60) } else { tcp(c, e, 22, 0x18, 120) } }
        "game" => { if p < 0.97 { let l = r.r(60, 220); let s = r.r(1024, 65535); udp(c, s, 27015, l) } else if p < 0.99 { let e = eph(r); tcp(c, e, 27015, 0x10, 52) } else { pk(c, 1, 60, Upper::Icmp { kind: 8, code: 0 }) } }
        "mail" => { let e = eph(r); let d = r.of(&[25, 465, 993, 587]); if p < 0.06 { tcp(c, e, d, 2, 60) } else if p < 0.5 { tcp(c, e, d, 0x10, 52) } else if p < 0.9 { let l = r.of(&[1500, 1500, 300, 100]); tcp(c, e, d, 0x18, l) } else { let l = r.r(90, 300); udp(0x0808_0808, 53, e, l) } }
        "vpn" => { if p < 0.5 { let l = r.r(80, 1450); pk(c, 50, l, Upper::None) } else if p < 0.9 { let l = r.r(90, 1450); udp(c, 4500, 4500, l) } else if p < 0.95 { let l = r.r(200, 600); udp(c, 500, 500, l) } else { let e = eph(r); tcp(c, e, 443, 0x10, 52) } }
        _ => { let e = 50000 + r.r(0, 40); if p < 0.5 { let l = r.r(1200, 1278); udp(0x8efa_0000 + r.r(0, 30), 443, e, l) } else if p < 0.85 { tcp(c, 443, e, 0x10, 1500) } else if p < 0.88 { tcp(c, 443, e, 0x12, 60) } else if p < 0.92 { let l = r.r(90, 400); udp(0x0808_0808, 53, e, l) } else { let l = r.r(60, 300); let s = r.r(1024, 65535); udp(c, s, 50321, l) } }
    }
}
fn frag(mut h: Headers, first: bool) -> Headers { h.fragment = if first { fragment::FIRST } else { fragment::IS }; if !first { h.upper = Upper::None; } h }
fn attack(kind: &str, r: &mut R, pool: &[u32]) -> Headers {
    let refl = r.of(pool); let sp = anyip(r); let rp = r.r(1024, 65535); let mut h = match kind {
        "dns_amp" => { let p = r.p(); let l = r.r(1000, 1472); if p < 0.5 { udp(refl, 53, rp, l) } else if p < 0.7 { frag(udp(refl, 53, rp, 1500), true) } else { let l = r.of(&[1500, 1500, 800, 400]); frag(udp(refl, 0, 0, l), false) } }
        "ntp" => { let l = r.of(&[468, 468, 468, 468, 424, 380]); udp(refl, 123, rp, l) }
        "memcached" => { let p = r.p(); if p < 0.6 { udp(refl, 11211, rp, 1428) } else { let l = r.r(300, 1400); udp(refl, 11211, rp, l) } }
        "cldap" => { let p = r.p(); if p < 0.5 { frag(udp(refl, 389, rp, 1500), true) } else { let l = r.r(1400, 1500); frag(udp(refl, 0, 0, l), false) } }
        "ssdp" => { let l = r.r(260, 400); udp(refl, 1900, rp, l) }
        "syn" => { let s = r.r(1024, 65535); tcp(sp, s, 443, 2, 40) }
        "syn_opt" => { let s = r.r(1024, 65535); let l = r.of(&[60, 52]); tcp(sp, s, 443, 2, l) }
        "synack" => { let l = r.of(&[44, 60, 52]); let s = r.of(&[80, 443, 443, 22]); tcp(refl, s, rp, 0x12, l) }
        "rst" => { let s = r.of(&[80, 443]); let f = r.of(&[4, 0x14]); tcp(refl, s, rp, f, 40) }
        "ack" => { let s = r.r(1024, 65535); tcp(sp, s, 443, 0x10, 40) }
        "xmas" => { let s = r.r(1024, 65535); tcp(sp, s, 80, 0x29, 40) }
        "udp_rand" => { let l = r.r(28, 1400); let d = r.r(1, 65535); udp(sp, rp, d, l) }
        "udp_port" => { let l = r.r(500, 1400); udp(sp, rp, 27015, l) }
        "udp_80" => { let l = r.r(28, 1400); udp(sp, rp, 80, l) }
        "udp_len" => { let d = r.r(1, 65535); udp(sp, rp, d, 540) }
        "frag" => { let l = r.r(500, 1500); frag(udp(sp, 0, 0, l), false) }
        "icmp" => { let l = r.r(28, 1500); pk(sp, 1, l, Upper::Icmp { kind: 8, code: 0 }) }
        "gre" => { let l = r.r(100, 1500); pk(sp, 47, l, Upper::None) }
        "esp" => { pk(sp, 50, 1300, Upper::None) }
        "protos" => { let q = r.r(0, 255); let l = r.r(40, 600); pk(sp, if [6, 17, 1].contains(&q) { 99 } else { q as u8 }, l, Upper::None) }
        "dscp" => { let s = r.r(1024, 65535); let l = r.of(&[52, 60]); let mut h = tcp(sp, s, 443, 0x10, l); h.dscp = 46; h }
        "net16" => { let s = r.r(1024, 65535); let l = r.of(&[52, 300, 700]); let a = 0x2d4f_0000 | r.r(0, 65535); let f = r.of(&[0x10, 0x18]); tcp(a, s, 443, f, l) }
        "eight" => { let s = r.r(1024, 65535); let l = r.of(&[52, 300, 700]); let f = r.of(&[0x10, 0x18]); tcp(pool[(s % 8) as usize], s, 443, f, l) }
        "multi" => { let k = r.of(&["ntp", "dns_amp", "ssdp", "syn"]); return attack(k, r, pool) }
        "multi5" => { let k = r.of(&["ntp", "memcached", "ssdp", "icmp", "gre"]); return attack(k, r, pool) }
        _ => panic!(),
    };
    if h.fragment == fragment::DONT && kind != "syn_opt" { h.fragment = 0; }
    h
}
#[test]
fn trial() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let verbose = !only.is_empty();
    let hosts = ["web", "dns", "resolver", "game", "mail", "vpn", "home"];
    let kinds = ["dns_amp", "ntp", "memcached", "cldap", "ssdp", "syn", "syn_opt", "synack", "rst", "ack", "xmas", "udp_rand", "udp_port", "udp_80", "udp_len", "frag", "icmp", "gre", "esp", "protos", "dscp", "net16", "eight", "multi", "multi5"];
    let (mut bad, mut all) = (0, 0);
    for (n, share, bn) in [(500usize, 0.2, 1000usize), (50, 0.3, 500), (200, 0.4, 300), (2000, 0.01, 2000), (500, 0.1, 60), (500, 0.2, 0)] {
        for host in hosts { for kind in kinds {
            if !only.is_empty() && only != format!("{host}/{kind}") && only != format!("{host}/{kind}/{n}/{bn}") { continue; }
            let mut r = R(n as u64 * 31 + kind.len() as u64 * 1000 + host.as_bytes()[0] as u64);
            let pool: Vec<u32> = (0..200).map(|_| anyip(&mut r)).collect();
            let sample: Vec<Headers> = (0..n).map(|_| if r.p() < share { legit(host, &mut r) } else { attack(kind, &mut r, &pool) }).collect();
            let base: Vec<Headers> = (0..bn).map(|_| legit(host, &mut r)).collect();
            let peace = Peace { seconds: (0..bn as u32).map(|i| i / 20).collect(), packets: base, one_in: 1.0, whose: Whose::Target };
            let target = Target { prefix: "192.0.2.5/32".parse().unwrap(), direction: Direction::Incoming };
            let t0 = std::time::Instant::now();
            let out = mine(&Task { target, by: Unit::Pps, sample: &sample, peace: &peace, profile: &Profile::default(), limits: &Limits::default(), whitelist: &Whitelist::default() });
            let ms = t0.elapsed().as_secs_f64() * 1e3;
            let fresh_a: Vec<Headers> = (0..5000).map(|_| attack(kind, &mut r, &pool)).collect();
            let fresh_l: Vec<Headers> = (0..5000).map(|_| legit(host, &mut r)).collect();
            let hit = |v: &[Headers]| v.iter().filter(|h| out.rules.iter().any(|m| m.action == Action::Discard && m.rule.matches(h))).count() as f64 / 5000.0;
            let (rec, col) = (hit(&fresh_a), hit(&fresh_l));
            let limited = out.rules.iter().filter(|m| m.action != Action::Discard).count();
            all += 1;
            let is_bad = rec < 0.95 || col > 0.01;
            bad += usize::from(is_bad);
            if is_bad || verbose {
                println!("{host:9} {kind:9} n={n:4} legit={share:.2} base={bn:4}: recall {rec:.3} collateral {col:.4} rules {} limited {limited} {ms:.1} ms", out.rules.len());
                if verbose { for m in &out.rules { println!("      {} {}\n          {}", m.action, m.rule, m.reason); } println!("    {}", out.note) }
                else { println!("      {}", out.rules.iter().map(|m| format!("[{} {}]", m.action, m.rule)).collect::<Vec<_>>().join(" ").replace("dst 192.0.2.5/32 ", "")); }
            }
        } }
    }
    println!("{bad} of {all} below the bars");
}
