//! Rules, then a frame: `family, NLRI` for each rule (4 or 6, then as BGP carries it), a byte that is neither, and the rest is the frame. The
//! compiled set, each rule by itself, and the RFC read literally over the bytes agree on what matches.
#![no_main]

use dataplane::packet::{Addresses, Headers, PlainUpper, Upper, parse};
use dataplane::rule::nlri::decode;
use dataplane::rule::{Columns, Family, FlowRule, RuleSet, SET_MAX};
use libfuzzer_sys::fuzz_target;

#[path = "../../../dataplane/src/rule/tests/literal.rs"]
mod literal;

fuzz_target!(|bytes: &[u8]| {
    let (rules, frame) = rules_and_frame(bytes);
    let Ok(headers) = parse(frame) else { return };
    for (family, body, rule) in &rules {
        let is_its_family = (*family == Family::V4) == matches!(headers.addresses, Addresses::V4 { .. });
        let expected = is_its_family && literal::evaluate(body, &headers);
        assert_eq!(rule.matches(&headers), expected, "{rule} {headers:?}");
    }
    let set = RuleSet::new(rules.iter().map(|(_, _, rule)| rule));
    let matching = matching(&rules, &headers);
    // A frame that is parsed, and one that is read at fixed places, in lanes of different blocks.
    let (mut columns, mut lanes) = (Columns::default(), 1);
    columns.put(0, &headers);
    if let Some(upper) = PlainUpper::of(frame) {
        columns.put_plain(40, &upper, set.is_wide());
        lanes |= 1 << 40;
    }
    let found = set.matching(&mut columns, lanes);
    for rule in 0..SET_MAX {
        let expected = if matching >> rule & 1 != 0 { lanes } else { 0 };
        let matched = if found >> rule & 1 != 0 { columns.matched(rule) } else { 0 };
        assert_eq!(matched, expected, "{rule}: {headers:?}");
    }
    assert_eq!(set.any(&mut columns, lanes), if matching == 0 { 0 } else { lanes });
});

type Rule<'a> = (Family, &'a [u8], FlowRule);

fn rules_and_frame(mut bytes: &[u8]) -> (Vec<Rule<'_>>, &[u8]) {
    let mut rules = Vec::new();
    loop {
        let (family, rest) = match bytes {
            [4, rest @ ..] => (Family::V4, rest),
            [6, rest @ ..] => (Family::V6, rest),
            [_, rest @ ..] => return (rules, rest),
            [] => return (rules, &[]),
        };
        let length = rest.first().map_or(0, |&length| usize::from(length));
        let Some((nlri, behind)) = rest.split_at_checked(1 + length) else { return (rules, rest) };
        // From f0 on the length has two octets; one will do here.
        if length < 0xf0
            && let Ok(rule) = decode(family, nlri)
        {
            rules.push((family, &nlri[1..], rule));
        }
        bytes = behind;
    }
}

fn matching(rules: &[Rule], headers: &Headers) -> u64 {
    let bits = rules.iter().take(SET_MAX).zip(0..);
    bits.fold(0, |all, ((_, _, rule), bit)| all | u64::from(rule.matches(headers)) << bit)
}
