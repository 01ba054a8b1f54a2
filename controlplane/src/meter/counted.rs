//! What a worker counted for one host since the host got its counters.

use std::net::IpAddr;

use dataplane::hosts::{Slab, Slot, plane};
use dataplane::packet::Class;

use crate::attack::{Direction, Volumes};

/// The generation of a block that serves its first /24: odd while it was handed out, then even.
const FIRST_GENERATION: u32 = 2;

/// Incoming and outgoing; nothing where the worker never saw the host. `None` where the counters served others before, or
/// change hands right now.
pub(super) fn counted(slab: &Slab, host: IpAddr) -> Option<[Volumes; 2]> {
    let slot = match host {
        IpAddr::V4(address) => slab.find_v4(address.into()),
        IpAddr::V6(address) => slab.find_v6(address.into()),
    };
    let Some(slot) = slot else { return Some(Default::default()) };
    let generation = slab.generation(slot);
    let from_the_start = match host {
        // An IPv4 block goes on from where its counters stand when it is given to another /24.
        IpAddr::V4(address) => {
            generation == FIRST_GENERATION && slab.head(slot.block()).key() == u32::from(address) >> 8
        }
        IpAddr::V6(address) => slab.ipv6_key(slot) == Some(address.into()),
    };
    let volumes = Direction::ALL.map(|direction| of_direction(slab, slot, direction));
    (from_the_start && slab.unchanged(slot, generation)).then_some(volumes)
}

fn of_direction(slab: &Slab, slot: Slot, direction: Direction) -> Volumes {
    let mut volumes = Volumes::default();
    for fragment in [false, true] {
        for class in Class::ALL {
            let cell = slab.cell(slot, plane(direction == Direction::Outgoing, fragment, class));
            volumes.packets[usize::from(fragment)][class as usize] = cell.packets().into();
            volumes.bytes[usize::from(fragment)][class as usize] = cell.bytes();
        }
    }
    volumes
}
