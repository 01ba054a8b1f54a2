//! Bindings to the part of DPDK that Levee uses, and a small C shim (`csrc/`) for static inline functions and for fields
//! that move between DPDK releases. No logic.

#![allow(missing_docs, non_camel_case_types, non_snake_case, non_upper_case_globals, unsafe_code, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
