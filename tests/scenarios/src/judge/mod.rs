//! The judge: holds rules against fresh packets whose owner is known. It shares no code with the miner, the packet path or the generator.

pub mod headers;
pub mod rule;
pub mod score;

#[cfg(test)]
mod tests;
