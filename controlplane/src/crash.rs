//! Where a test may have the process die as by `kill -9`: before and after every write and every call that leaves it. Debug
//! builds alone look at `LEVEE_CRASH_AT`; a release build has nothing of this.
//!
//! `LEVEE_CRASH_AT="AddPath:before:2"` is death before the second AddPath.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, raise};

/// The variable that says where.
pub const VARIABLE: &str = "LEVEE_CRASH_AT";

/// What leaves the process. Whoever writes or calls has a step here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A transaction of the store, from its begin to its commit.
    Write,
    /// That commit.
    Commit,
    /// A damaged store is put aside.
    PutAside,
    /// The file of a sample is written.
    Sample,
    /// One of the calls to an engine.
    GetBgp,
    /// As above.
    AddPath,
    /// As above.
    DeletePath,
    /// As above.
    ListPath,
    /// As above.
    ListPeer,
    /// As above.
    WatchEvent,
    /// One of the calls to a MITIGATOR: the log-in.
    MitigatorLogin,
    /// Its version.
    MitigatorVersion,
    /// Whether the token is good.
    MitigatorPing,
    /// How a switch is.
    MitigatorGetSwitch,
    /// A switch is set.
    MitigatorPutSwitch,
    /// The policy of a packet.
    MitigatorPolicyOf,
    /// What only the doctor asks.
    MitigatorLook,
    /// A script is run, from its start to its end.
    NotifyScript,
    /// A webhook is called.
    NotifyPost,
}

impl Step {
    /// All of them.
    pub const ALL: [Step; 19] = [
        Step::Write,
        Step::Commit,
        Step::PutAside,
        Step::Sample,
        Step::GetBgp,
        Step::AddPath,
        Step::DeletePath,
        Step::ListPath,
        Step::ListPeer,
        Step::WatchEvent,
        Step::MitigatorLogin,
        Step::MitigatorVersion,
        Step::MitigatorPing,
        Step::MitigatorGetSwitch,
        Step::MitigatorPutSwitch,
        Step::MitigatorPolicyOf,
        Step::MitigatorLook,
        Step::NotifyScript,
        Step::NotifyPost,
    ];

    /// Its name: of a call to an engine, what gRPC calls it.
    pub fn name(self) -> &'static str {
        match self {
            Step::Write => "Write",
            Step::Commit => "Commit",
            Step::PutAside => "PutAside",
            Step::Sample => "Sample",
            Step::GetBgp => "GetBgp",
            Step::AddPath => "AddPath",
            Step::DeletePath => "DeletePath",
            Step::ListPath => "ListPath",
            Step::ListPeer => "ListPeer",
            Step::WatchEvent => "WatchEvent",
            Step::MitigatorLogin => "MitigatorLogin",
            Step::MitigatorVersion => "MitigatorVersion",
            Step::MitigatorPing => "MitigatorPing",
            Step::MitigatorGetSwitch => "MitigatorGetSwitch",
            Step::MitigatorPutSwitch => "MitigatorPutSwitch",
            Step::MitigatorPolicyOf => "MitigatorPolicyOf",
            Step::MitigatorLook => "MitigatorLook",
            Step::NotifyScript => "NotifyScript",
            Step::NotifyPost => "NotifyPost",
        }
    }
}

/// On which side of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing of it is done.
    Before,
    /// All of it is done, and nobody was told yet.
    After,
}

impl When {
    fn name(self) -> &'static str {
        match self {
            When::Before => "before",
            When::After => "after",
        }
    }
}

/// Death that was ordered.
#[derive(Debug)]
struct Order {
    step: Step,
    when: When,
    left: AtomicU32,
}

/// `None` for what is no order.
fn parse(text: &str) -> Option<Order> {
    let mut parts = text.split(':');
    let (step, when, count) = (parts.next()?, parts.next()?, parts.next()?);
    let step = Step::ALL.into_iter().find(|known| known.name() == step)?;
    let when = [When::Before, When::After].into_iter().find(|known| known.name() == when)?;
    Some(Order { step, when, left: AtomicU32::new(count.parse().ok()?) })
}

/// The process is here. Nothing, unless a test ordered its death.
pub fn point(step: Step, when: When) {
    static ORDER: OnceLock<Option<Order>> = OnceLock::new();
    if !cfg!(debug_assertions) {
        return;
    }
    tracing::debug!("passes {}:{}", step.name(), when.name());
    let order = ORDER.get_or_init(|| std::env::var(VARIABLE).ok().as_deref().and_then(parse));
    let Some(order) = order.as_ref().filter(|order| (order.step, order.when) == (step, when)) else { return };
    if order.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        // Nothing may run from here on: no destructor, no flush.
        let _ = raise(Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_names_step_side_and_count() {
        for step in Step::ALL {
            for when in [When::Before, When::After] {
                let order = parse(&format!("{}:{}:3", step.name(), when.name())).unwrap();
                assert_eq!((order.step, order.when, order.left.into_inner()), (step, when, 3));
            }
        }
        for text in ["", "AddPath", "AddPath:before", "AddPath:before:x", "Nothing:before:1", "AddPath:now:1"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
