//! Rates smoothed over about a second, decaying by themselves where nothing comes.

use dataplane::packet::Class;

use super::{HostRates, Order};
use crate::attack::{Direction, Volumes};

/// After this many seconds 63 % of a change shows.
const TIME_CONSTANT_S: f64 = 1.0;
/// A tick's length when only the number of missed ticks is known.
const NOMINAL_TICK_S: f64 = 0.1;

/// A tick, and what it weighs: worked out once for all hosts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) tick: u32,
    pub(super) seconds: f64,
    weight: f32,
    per_packet: f32,
    per_byte: f32,
}

impl Step {
    pub(super) fn new(tick: u32, seconds: f64) -> Step {
        let weight = 1.0 - (-seconds / TIME_CONSTANT_S).exp();
        let per_packet = weight / seconds;
        Step {
            tick,
            seconds,
            weight: weight as f32,
            per_packet: per_packet as f32,
            per_byte: (per_packet * 8.0) as f32,
        }
    }
}

/// Packets and bits a second by class, and of fragments of any class.
#[derive(Clone, Copy, Debug, Default)]
pub struct Smooth {
    pps: [f32; Class::COUNT],
    bps: [f32; Class::COUNT],
    fragments_pps: f32,
    fragments_bps: f32,
    tick: u32,
}

impl Smooth {
    /// Takes in what came within a tick.
    #[inline]
    pub(super) fn update(&mut self, step: Step, volumes: &Volumes) {
        if self.tick != step.tick.wrapping_sub(1) {
            *self = self.at(step.tick.wrapping_sub(1));
        }
        let mix =
            |rate: &mut f32, amount: u64, weight: f32| *rate += amount as i64 as f32 * weight - *rate * step.weight;
        let (packets, bytes) = (&volumes.packets, &volumes.bytes);
        for class in 0..Class::COUNT {
            mix(&mut self.pps[class], packets[0][class] + packets[1][class], step.per_packet);
            mix(&mut self.bps[class], bytes[0][class] + bytes[1][class], step.per_byte);
        }
        mix(&mut self.fragments_pps, packets[1].iter().sum(), step.per_packet);
        mix(&mut self.fragments_bps, bytes[1].iter().sum(), step.per_byte);
        self.tick = step.tick;
    }

    /// Begins a tick; [`Smooth::add`] takes in what came within it.
    #[inline]
    pub(super) fn begin(&mut self, step: Step) {
        if self.tick != step.tick.wrapping_sub(1) {
            *self = self.at(step.tick.wrapping_sub(1));
        }
        self.scale(1.0 - step.weight);
        self.tick = step.tick;
    }

    /// A part of what came within the tick that was begun, of one class.
    #[inline]
    pub(super) fn add(&mut self, step: Step, (fragment, class): (bool, usize), packets: u32, bytes: u64) {
        let (packets, bits) = (packets as f32 * step.per_packet, bytes as i64 as f32 * step.per_byte);
        self.pps[class] += packets;
        self.bps[class] += bits;
        if fragment {
            self.fragments_pps += packets;
            self.fragments_bps += bits;
        }
    }

    #[inline]
    fn scale(&mut self, factor: f32) {
        let rates = self.pps.iter_mut().chain(&mut self.bps);
        rates.chain([&mut self.fragments_pps, &mut self.fragments_bps]).for_each(|rate| *rate *= factor);
    }

    /// As it is at a later tick in which nothing came.
    pub(super) fn at(mut self, tick: u32) -> Smooth {
        let missed = tick.wrapping_sub(self.tick);
        if missed == 0 || missed > u32::MAX / 2 {
            return self;
        }
        let left = (-f64::from(missed) * NOMINAL_TICK_S / TIME_CONSTANT_S).exp() as f32;
        self.scale(left);
        self.tick = tick;
        self
    }

    /// Packets and bits a second of these classes.
    pub fn of(&self, classes: &[Class]) -> (f64, f64) {
        let sum = |rates: &[f32]| classes.iter().map(|&class| f64::from(rates[class as usize])).sum();
        (sum(&self.pps), sum(&self.bps))
    }

    /// Packets and bits a second of fragments.
    pub fn fragments(&self) -> (f64, f64) {
        (self.fragments_pps.into(), self.fragments_bps.into())
    }
}

impl HostRates {
    pub(super) fn at(&self, tick: u32) -> HostRates {
        HostRates { rates: self.rates.map(|rates| rates.at(tick)) }
    }

    pub(super) fn by(&self, order: Order) -> f64 {
        let total = |direction: Direction| self.rates[direction as usize].of(&Class::ALL);
        match order {
            Order::Pps => Direction::ALL.map(|direction| total(direction).0).iter().sum(),
            Order::Bps => Direction::ALL.map(|direction| total(direction).1).iter().sum(),
            Order::DirectionPps(direction) => total(direction).0,
            Order::DirectionBps(direction) => total(direction).1,
        }
    }
}
