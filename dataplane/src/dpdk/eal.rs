//! Starts EAL once, and registers threads with it.

use std::ffi::{CStr, CString, c_char};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Error, last_reason};

static STARTED: AtomicBool = AtomicBool::new(false);

/// DPDK's environment, running. Ports borrow it, so it outlives them.
#[derive(Debug)]
pub struct Eal {
    _private: (),
}

impl Eal {
    /// Starts EAL with these arguments (without the program's name). The calling thread's CPU affinity, which EAL narrows
    /// to its main lcore, is put back.
    ///
    /// # Errors
    /// [`Error::EalTwice`] on a second call in a process, [`Error::Eal`] when EAL refuses.
    pub fn start(arguments: &[String]) -> Result<Eal, Error> {
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(Error::EalTwice);
        }
        let failed = |reason| Error::Eal { arguments: arguments.join(" "), reason };
        let strings = std::iter::once("levee")
            .chain(arguments.iter().map(String::as_str))
            .map(CString::new)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| failed(error.to_string()))?;
        let mut argv: Vec<*mut c_char> = strings.iter().map(|text| text.as_ptr().cast_mut()).collect();
        let affinity = Affinity::save();
        // SAFETY: argv holds argv.len() pointers to NUL-terminated strings that live until the end of this function. EAL
        // permutes the array, and copies what it keeps.
        let parsed = unsafe { dpdk_sys::rte_eal_init(argv.len() as i32, argv.as_mut_ptr()) };
        affinity.restore();
        if parsed < 0 {
            return Err(failed(last_reason()));
        }
        Ok(Eal { _private: () })
    }
}

impl Drop for Eal {
    fn drop(&mut self) {
        // SAFETY: EAL runs, and every port is closed: they borrow this value.
        unsafe { dpdk_sys::rte_eal_cleanup() };
    }
}

/// Marks all open files of this process but the standard ones: no program that it starts has them. DPDK opens devices, sockets and huge
/// pages without that.
pub fn close_files_on_exec() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: it only sets a flag of open files. Where the kernel does not know it (before 5.11), nothing happens.
    unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

struct Affinity(libc::cpu_set_t);

impl Affinity {
    fn save() -> Affinity {
        // SAFETY: cpu_set_t is plain data, for which zeroes are a valid (empty) set; the call writes at most its size.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
            Affinity(set)
        }
    }

    fn restore(self) {
        // SAFETY: the set was filled by sched_getaffinity.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &self.0) };
    }
}

/// This thread's place among EAL's lcores: gives it a mempool cache. Taken back when dropped.
#[derive(Debug)]
pub struct LcoreThread {
    not_send: PhantomData<*const ()>,
}

impl LcoreThread {
    /// Registers the calling thread; pin it first.
    ///
    /// # Errors
    /// [`Error::Thread`] when EAL has no lcore left.
    pub fn register() -> Result<LcoreThread, Error> {
        // SAFETY: may be called on any thread once EAL runs; fails without it.
        if unsafe { dpdk_sys::rte_thread_register() } < 0 {
            return Err(Error::Thread(last_reason()));
        }
        Ok(LcoreThread { not_send: PhantomData })
    }
}

impl Drop for LcoreThread {
    fn drop(&mut self) {
        // SAFETY: this thread was registered, and the value cannot leave it.
        unsafe { dpdk_sys::rte_thread_unregister() };
    }
}

/// DPDK's version, such as "22.11.11".
pub fn version() -> String {
    // SAFETY: returns a static NUL-terminated string.
    let text = unsafe { CStr::from_ptr(dpdk_sys::rte_version()) }.to_string_lossy();
    text.trim_start_matches("DPDK ").to_owned()
}

/// The time-stamp counter of this core.
#[inline(always)]
pub fn tsc() -> u64 {
    // SAFETY: every x86_64 CPU has RDTSC.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Cycles of the time-stamp counter a second.
pub fn tsc_hz() -> u64 {
    // SAFETY: reads a variable that EAL sets at start; 0 before.
    unsafe { dpdk_sys::rte_get_tsc_hz() }
}
