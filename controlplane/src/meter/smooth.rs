//! Rates smoothed over about a second, decaying by themselves where nothing comes.

use dataplane::packet::Class;

use super::seen::Delta;
use super::{HostRates, Order};
use crate::attack::{Direction, Volumes};

/// After this many seconds 63 % of a change shows.
const TIME_CONSTANT_S: f64 = 1.0;
/// A tick's length when only the number of missed ticks is known.
const NOMINAL_TICK_S: f64 = 0.1;

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
    pub(super) fn update(&mut self, tick: u32, seconds: f64, volumes: &Volumes) {
        *self = self.at(tick.wrapping_sub(1));
        let weight = 1.0 - (-seconds / TIME_CONSTANT_S).exp();
        let mix = |rate: &mut f32, amount: u64| {
            *rate += ((amount as f64 / seconds - f64::from(*rate)) * weight) as f32;
        };
        for class in 0..Class::COUNT {
            mix(&mut self.pps[class], volumes.packets[0][class] + volumes.packets[1][class]);
            mix(&mut self.bps[class], (volumes.bytes[0][class] + volumes.bytes[1][class]) * 8);
        }
        mix(&mut self.fragments_pps, volumes.packets[1].iter().sum());
        mix(&mut self.fragments_bps, volumes.bytes[1].iter().sum::<u64>() * 8);
        self.tick = tick;
    }

    /// As it is at a later tick in which nothing came.
    pub(super) fn at(mut self, tick: u32) -> Smooth {
        let missed = tick.wrapping_sub(self.tick);
        if missed == 0 || missed > u32::MAX / 2 {
            return self;
        }
        let left = (-f64::from(missed) * NOMINAL_TICK_S / TIME_CONSTANT_S).exp() as f32;
        let rates = self.pps.iter_mut().chain(&mut self.bps);
        rates.chain([&mut self.fragments_pps, &mut self.fragments_bps]).for_each(|rate| *rate *= left);
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
    pub(super) fn update(&mut self, tick: u32, seconds: f64, delta: &Delta) {
        for direction in Direction::ALL {
            self.rates[direction as usize].update(tick, seconds, &delta.volumes(direction));
        }
    }

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
