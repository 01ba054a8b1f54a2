//! Levee's packet path.

pub mod packet;
pub mod rule;
