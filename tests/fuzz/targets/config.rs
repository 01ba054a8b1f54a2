//! A configuration file: any text is taken, or refused with findings that can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match controlplane::config::parse("levee.toml", text.to_owned()) {
        Ok(config) => assert!(!config.networks.is_empty() && !config.ports.is_empty()),
        Err(findings) => assert!(!findings.to_string().is_empty()),
    }
});
