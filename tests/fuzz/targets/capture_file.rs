//! Capture files: any bytes decode to packets or to an error, and to no more packets than they can hold.

#![no_main]

use controlplane::capture_file::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = decode(bytes) {
        assert!(file.packets.len() + file.unparsed <= bytes.len() / 8);
    }
});
