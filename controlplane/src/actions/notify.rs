//! Tells scripts and webhooks about attacks.
//!
//! What is told is a value, [`notice::Notice`]; to render one is pure.

pub mod notice;
