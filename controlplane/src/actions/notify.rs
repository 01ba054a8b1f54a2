//! Tells scripts and webhooks about attacks.
//!
//! What is told is a value, [`notice::Notice`]; to render one is pure. [`call`] has what a script is called with, in the layout of
//! its choice; [`webhook`] what is posted.

mod advanced;
pub mod call;
mod figures;
pub mod notice;
#[cfg(test)]
mod tests;
mod text;
pub mod webhook;
