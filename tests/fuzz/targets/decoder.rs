//! A Flow Spec rule as BGP carries it: the family (even: IPv4), then any bytes. Decoding never panics, and what was understood means
//! the same when it is said again.
#![no_main]

use dataplane::rule::Family;
use dataplane::rule::nlri::{Error, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((family, nlri)) = bytes.split_first() else { return };
    let family = if family % 2 == 0 { Family::V4 } else { Family::V6 };
    let Ok(rule) = decode(family, nlri) else { return };
    assert_eq!(rule.family(), Some(family));
    assert!(!rule.to_string().is_empty());
    match encode(&rule) {
        Ok(again) => assert_eq!(decode(family, &again), Ok(rule)),
        // Right by the RFC, and refused for the routers' sake.
        Err(Error::TooManyItems { .. } | Error::TooLong(_) | Error::DontFragmentInIpv6) => {}
        Err(error) => panic!("{rule} cannot be said again: {error}"),
    }
});
