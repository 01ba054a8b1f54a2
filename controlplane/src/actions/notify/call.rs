//! A call of a script: its arguments, and what it gets to read. Pure.

use super::advanced;
use super::figures::{direction, whole};
use super::notice::{Layout, Notice, Say};
use super::text;
use crate::attack::name;

/// What a script is called with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Arguments behind the program: `IP DIRECTION PPS ACTION`, or of JSON `ACTION IP`. No one holds a blank or a control character.
    pub arguments: Vec<String>,
    /// Standard input; empty where there is nothing to read.
    pub input: String,
}

/// The call that says so of an attack, with no more than `packets_max` packets. A network has its prefix for an address.
pub fn call(layout: Layout, say: Say, notice: &Notice, packets_max: usize) -> Call {
    let record = &notice.record;
    let (target, action) = (name(record.target.prefix), say.as_str().to_owned());
    let packets = &notice.packets[..notice.packets.len().min(packets_max)];
    let (direction, pps) = (direction(record).to_owned(), whole(record.initial_pps).to_string());
    let arguments = match layout {
        Layout::Advanced => vec![action, target],
        Layout::Classic | Layout::Newer => vec![target, direction, pps, action],
    };
    let input = match (layout, say) {
        (Layout::Advanced, _) => advanced::document(say, notice, packets),
        (_, Say::Unban | Say::PartialBlock | Say::PartialUnblock) => String::new(),
        (Layout::Classic, Say::Ban) => text::classic(notice),
        (Layout::Classic, Say::AttackDetails) => text::classic_with(notice, packets),
        (Layout::Newer, Say::Ban | Say::AttackDetails) => text::newer(notice, packets),
    };
    Call { arguments, input }
}
