//! The one border between safe and unsafe code: EAL, ports, queues, bursts, and large pre-faulted memory. Everything here
//! is safe to call from outside; no parsing, no policy.

#![allow(unsafe_code)]

pub mod arguments;
mod eal;
mod memory;
mod port;
mod rewrite;
pub mod rss;

pub use eal::{Eal, LcoreThread, close_files_on_exec, tsc, tsc_hz, version};
pub use memory::{Backing, HUGE_PAGE, Memory, prefetch, which_of};
pub use port::{BURST_MAX, Burst, Link, Mbufs, Packets, Port, PortOptions, PortStats, RxQueue};
pub use rewrite::Rewrite;

/// What went wrong with DPDK, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `rte_eal_init` failed.
    #[error(
        "DPDK's EAL did not start with `{arguments}`: {reason}. Its own lines above say more; without huge pages set `dpdk.huge_pages = \"never\"`"
    )]
    Eal {
        /// The EAL command line.
        arguments: String,
        /// `rte_strerror`.
        reason: String,
    },
    /// EAL was started before in this process.
    #[error("DPDK's EAL was started before in this process; it starts once")]
    EalTwice,
    /// A device could not be probed, or has no port.
    #[error("DPDK does not find a port for `{device}`: {reason}")]
    NoPort {
        /// As configured.
        device: String,
        /// What DPDK says.
        reason: String,
    },
    /// A call for a port failed.
    #[error("port `{device}`: {call} failed: {reason}")]
    Port {
        /// As configured.
        device: String,
        /// Which call.
        call: &'static str,
        /// What DPDK says.
        reason: String,
    },
    /// More queues asked for than the device has.
    #[error("port `{device}` has {has} receive queues at most, {wanted} cores are configured for it")]
    Queues {
        /// As configured.
        device: String,
        /// The device's maximum.
        has: u16,
        /// Configured.
        wanted: usize,
    },
    /// The mbuf pool could not be made.
    #[error("no memory for {mbufs} mbufs for port `{device}`: {reason}. Raise `dpdk.memory_mb` or lower `dpdk.mbufs`")]
    Pool {
        /// As configured.
        device: String,
        /// How many were asked for.
        mbufs: u32,
        /// What DPDK says.
        reason: String,
    },
    /// A thread could not be registered with EAL.
    #[error("a worker thread could not be registered with DPDK: {0}")]
    Thread(String),
    /// Memory for tables could not be had.
    #[error("no memory for {bytes} bytes of {what}: {reason}")]
    Memory {
        /// What for.
        what: &'static str,
        /// How much.
        bytes: usize,
        /// The system's words.
        reason: std::io::Error,
    },
}

fn reason(errno: i32) -> String {
    // SAFETY: rte_strerror returns a pointer to a NUL-terminated string that lives at least until this thread's next call.
    let text = unsafe { std::ffi::CStr::from_ptr(dpdk_sys::rte_strerror(errno.abs())) };
    format!("{} ({})", text.to_string_lossy(), errno.abs())
}

fn last_reason() -> String {
    // SAFETY: reads this thread's rte_errno.
    reason(unsafe { dpdk_sys::levee_errno() })
}
