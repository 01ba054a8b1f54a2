//! A receive callback that rewrites frames before anyone sees them: benchmarks make many hosts of a small file with it.

use std::ffi::c_void;

use super::{Error, RxQueue, last_reason};

/// Installed for as long as it lives.
#[derive(Debug)]
pub struct Rewrite<F> {
    port: u16,
    queue: u16,
    callback: *const c_void,
    // Both are read inside rte_eth_rx_burst, by pointer.
    _entry: Box<dpdk_sys::levee_rewrite>,
    function: *mut F,
}

extern "C" fn call<F: FnMut(&mut [u8])>(context: *mut c_void, data: *mut u8, len: u32) {
    // SAFETY: context is the F that install leaked and drop frees after the callback is gone; DPDK calls it on the one
    // thread that polls the queue. data points to len bytes of the mbuf's first segment, which nobody else sees yet.
    unsafe { (*context.cast::<F>())(std::slice::from_raw_parts_mut(data, len as usize)) }
}

impl<F: FnMut(&mut [u8])> Rewrite<F> {
    /// Calls `function` for the first segment of every frame that the queue receives. `function` must not panic.
    ///
    /// # Errors
    /// [`Error::Port`] when DPDK refuses.
    pub fn install(queue: &RxQueue, function: F) -> Result<Rewrite<F>, Error> {
        let function = Box::into_raw(Box::new(function));
        let mut entry = Box::new(dpdk_sys::levee_rewrite { rewrite: Some(call::<F>), context: function.cast() });
        // SAFETY: the entry lives, at its place on the heap, until drop has removed the callback.
        let callback = unsafe { dpdk_sys::levee_add_rewrite(queue.port, queue.queue, &mut *entry) };
        if callback.is_null() {
            // SAFETY: made by into_raw above, and not installed.
            drop(unsafe { Box::from_raw(function) });
            return Err(Error::Port {
                device: queue.port.to_string(),
                call: "rte_eth_add_rx_callback",
                reason: last_reason(),
            });
        }
        Ok(Rewrite { port: queue.port, queue: queue.queue, callback, _entry: entry, function })
    }
}

impl<F> Drop for Rewrite<F> {
    fn drop(&mut self) {
        // SAFETY: installed by install; removed before what it points to goes. Whoever holds this value polls the queue or has
        // joined who did, so no burst is under way.
        unsafe {
            dpdk_sys::rte_eth_remove_rx_callback(self.port, self.queue, self.callback.cast());
            drop(Box::from_raw(self.function));
        }
    }
}
