//! Ports, their receive queues, and the burst that a queue fills.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys::{
    LEVEE_MBUF_BUF_ADDR, LEVEE_MBUF_DATA_LEN, LEVEE_MBUF_DATA_OFF, LEVEE_MBUF_NEXT, LEVEE_MBUF_NOT_DIRECT,
    LEVEE_MBUF_OL_FLAGS, LEVEE_MBUF_PKT_LEN, LEVEE_MBUF_PLAIN, LEVEE_MBUF_PLAIN_MASK, LEVEE_MBUF_POOL,
    LEVEE_MBUF_REARM_DATA, rte_eth_conf, rte_mbuf, rte_mempool,
};

use super::rss::{self, Spread};
use super::{Eal, Error, arguments, last_reason, reason};

/// Most packets in one burst.
pub const BURST_MAX: usize = 256;

/// How a port is set up.
#[derive(Clone, Debug)]
pub struct PortOptions {
    /// PCI address, or a virtual device with its arguments ("net_pcap0,rx_pcap=a.pcap").
    pub device: String,
    /// Receive queues.
    pub queues: usize,
    /// Descriptors of a queue; the device may round it.
    pub descriptors: u16,
    /// Mbufs in the port's pool.
    pub mbufs: u32,
    /// Take frames for other MAC addresses, as a mirror port must.
    pub promiscuous: bool,
    /// Largest frame payload in bytes; `None` leaves the device's own.
    pub mtu: Option<u16>,
}

/// The pool that a port's mbufs come from. Queues hold it, so it goes only after the last burst.
#[derive(Debug)]
struct Pool(*mut rte_mempool);

// SAFETY: mempools may be used from any registered thread.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: made by rte_pktmbuf_pool_create; the port that fills from it is closed, and no burst is left.
        unsafe { dpdk_sys::rte_mempool_free(self.0) };
    }
}

/// A started port. Closed when dropped.
#[derive(Debug)]
pub struct Port {
    id: u16,
    device: String,
    driver: String,
    queues: usize,
    doubt: Option<String>,
    mbufs: u32,
    pool: Arc<Pool>,
    #[expect(dead_code, reason = "keeps EAL running")]
    eal: Arc<Eal>,
}

/// Counters of a port, since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets delivered.
    pub packets: u64,
    /// Bytes delivered, as the device counts them.
    pub bytes: u64,
    /// Lost because the queue had no free descriptor (`imissed`).
    pub missed: u64,
    /// Broken frames (`ierrors`).
    pub errors: u64,
    /// Failed mbuf allocations (`rx_nombuf`).
    pub no_mbuf: u64,
}

/// The pool that a port's frames come to lie in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mbufs {
    /// Taken: they wait in the device for frames, or a worker has not given them back yet.
    pub in_use: u32,
    /// All.
    pub all: u32,
}

/// Link of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether it is up.
    pub up: bool,
    /// Megabits a second; 0 when unknown.
    pub mbps: u32,
}

impl Port {
    /// Probes the device, sets it up and starts it. Gives its queues, in order.
    ///
    /// # Errors
    /// [`Error::NoPort`], [`Error::Queues`], [`Error::Pool`], [`Error::Port`].
    pub fn open(eal: &Arc<Eal>, options: &PortOptions) -> Result<(Port, Vec<RxQueue>), Error> {
        let id = probe(&options.device)?;
        let call = |call: &'static str, code: i32| match code {
            0 => Ok(()),
            code => Err(Error::Port { device: options.device.clone(), call, reason: reason(code) }),
        };
        // SAFETY: rte_eth_dev_info is plain data, filled by the call.
        let (info, driver) = unsafe {
            let mut info = MaybeUninit::zeroed();
            call("rte_eth_dev_info_get", dpdk_sys::rte_eth_dev_info_get(id, info.as_mut_ptr()))?;
            let info: dpdk_sys::rte_eth_dev_info = info.assume_init();
            (info, CStr::from_ptr(info.driver_name).to_string_lossy().into_owned())
        };
        if options.queues > usize::from(info.max_rx_queues) {
            return Err(Error::Queues {
                device: options.device.clone(),
                has: info.max_rx_queues,
                wanted: options.queues,
            });
        }
        let pool = make_pool(id, options)?;

        let mut key = rss::SYMMETRIC_KEY;
        let mut conf = rte_eth_conf::default();
        let spread = Spread::new(options.queues, info.flow_type_rss_offloads, info.hash_key_size);
        if let Some(spread) = spread {
            conf.rxmode.mq_mode = dpdk_sys::RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = spread.fields;
            conf.rx_adv_conf.rss_conf.rss_key = key.as_mut_ptr();
            conf.rx_adv_conf.rss_conf.rss_key_len = spread.key_len;
        }
        conf.rxmode.offloads = u64::from(dpdk_sys::RTE_ETH_RX_OFFLOAD_SCATTER) & info.rx_offload_capa;
        if let Some(mtu) = options.mtu {
            conf.rxmode.mtu = u32::from(mtu);
        }
        // SAFETY: conf and key live through the calls; the port was probed and is not started.
        unsafe {
            let queues = options.queues as u16;
            // Nothing is ever sent, but some devices know queues in pairs only: net_af_xdp, and net_memif's other end.
            let senders = if info.max_tx_queues >= queues { queues } else { 0 };
            call("rte_eth_dev_configure", dpdk_sys::rte_eth_dev_configure(id, queues, senders, &conf))?;
            let socket = dpdk_sys::rte_eth_dev_socket_id(id) as u32;
            for queue in 0..queues {
                let (descriptors, pool) = (options.descriptors, pool.0);
                let code = dpdk_sys::rte_eth_rx_queue_setup(id, queue, descriptors, socket, std::ptr::null(), pool);
                call("rte_eth_rx_queue_setup", code)?;
            }
            for queue in 0..senders {
                // 0: as many descriptors as the device likes best.
                let code = dpdk_sys::rte_eth_tx_queue_setup(id, queue, 0, socket, std::ptr::null());
                call("rte_eth_tx_queue_setup", code)?;
            }
        }
        let (device, eal) = (options.device.clone(), Arc::clone(eal));
        let (queues, mbufs) = (options.queues, options.mbufs);
        let mut port = Port { id, device, driver, queues, doubt: None, mbufs, pool, eal };
        // SAFETY: the port is configured; from here on its drop stops and closes it.
        unsafe {
            call("rte_eth_dev_start", dpdk_sys::rte_eth_dev_start(id))?;
            if options.promiscuous {
                match dpdk_sys::rte_eth_promiscuous_enable(id) {
                    // A file or a ring has no such mode, and hears everything.
                    code if code == -libc::ENOTSUP => {}
                    code => call("rte_eth_promiscuous_enable", code)?,
                }
            }
            call("rte_eth_dev_flow_ctrl_set", stop_flow_control(id))?;
        }
        // Some devices take a key only when they run, and by another call.
        port.doubt = spread.and_then(|spread| doubt_spread(id, &spread).and_then(|_| insist_on_spread(id, &spread)));
        let queues =
            (0..options.queues as u16).map(|queue| RxQueue { port: id, queue, pool: Arc::clone(&port.pool) }).collect();
        Ok((port, queues))
    }

    /// As configured.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// DPDK's number of the port.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// The driver's name, such as "net_pcap".
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// How many receive queues.
    pub fn queues(&self) -> usize {
        self.queues
    }

    /// What is wrong with how the device spreads packets over its queues, where it says so.
    pub fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    /// Counters since start; zeroes when the device does not answer.
    pub fn stats(&self) -> PortStats {
        let mut stats = dpdk_sys::rte_eth_stats::default();
        // SAFETY: stats is written by the call; the port is open.
        if unsafe { dpdk_sys::rte_eth_stats_get(self.id, &mut stats) } != 0 {
            return PortStats::default();
        }
        PortStats {
            packets: stats.ipackets,
            bytes: stats.ibytes,
            missed: stats.imissed,
            errors: stats.ierrors,
            no_mbuf: stats.rx_nombuf,
        }
    }

    /// Its mbufs. While they come and go, the figure is a little off.
    pub fn mbufs(&self) -> Mbufs {
        // SAFETY: the pool lives as long as self; the call only reads, and each core's cache by itself.
        let in_use = unsafe { dpdk_sys::rte_mempool_in_use_count(self.pool.0) };
        Mbufs { in_use, all: self.mbufs }
    }

    /// The link as the device last saw it.
    pub fn link(&self) -> Link {
        let mut link = MaybeUninit::<dpdk_sys::rte_eth_link>::zeroed();
        // SAFETY: plain data, written by the call; the port is open.
        unsafe {
            if dpdk_sys::rte_eth_link_get_nowait(self.id, link.as_mut_ptr()) != 0 {
                return Link::default();
            }
            let link = link.assume_init();
            let mbps = if link.link_speed == u32::MAX { 0 } else { link.link_speed };
            Link { up: link.link_status() != 0, mbps }
        }
    }

    /// Whether the device is gone, as far as its driver can tell.
    pub fn is_gone(&self) -> bool {
        // SAFETY: the port is open; a driver that cannot tell says 0.
        unsafe { dpdk_sys::rte_eth_dev_is_removed(self.id) != 0 }
    }

    /// The kernel's interface that the port receives from, where it does.
    pub fn interface(&self) -> Option<&str> {
        arguments::interface(&self.device)
    }

    /// MAC address, as text.
    pub fn mac(&self) -> String {
        let mut mac = dpdk_sys::rte_ether_addr::default();
        // SAFETY: written by the call; the port is open.
        unsafe { dpdk_sys::rte_eth_macaddr_get(self.id, &mut mac) };
        mac.addr_bytes.map(|byte| format!("{byte:02x}")).join(":")
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // SAFETY: the port is open, and its queues are polled no more: workers have been joined before ports go.
        unsafe {
            dpdk_sys::rte_eth_dev_stop(self.id);
            dpdk_sys::rte_eth_dev_close(self.id);
        }
    }
}

/// Switches pause frames off: a port that listens must not slow down those who send. Most virtual devices have none.
fn stop_flow_control(id: u16) -> i32 {
    let mut conf = MaybeUninit::<dpdk_sys::rte_eth_fc_conf>::zeroed();
    // SAFETY: plain data, for which zeroes are valid; filled by the first call. The port is open.
    let code = unsafe {
        match dpdk_sys::rte_eth_dev_flow_ctrl_get(id, conf.as_mut_ptr()) {
            0 => {
                let mut conf = conf.assume_init();
                conf.mode = dpdk_sys::RTE_ETH_FC_NONE;
                dpdk_sys::rte_eth_dev_flow_ctrl_set(id, &mut conf)
            }
            code => code,
        }
    };
    if code == -libc::ENOTSUP { 0 } else { code }
}

/// What is wrong with how a device spreads packets, as far as it says.
fn doubt_spread(id: u16, wanted: &Spread) -> Option<String> {
    let mut key = [0; rss::SYMMETRIC_KEY.len()];
    let mut conf =
        dpdk_sys::rte_eth_rss_conf { rss_key: key.as_mut_ptr(), rss_key_len: wanted.key_len, ..Default::default() };
    // SAFETY: the device writes at most rss_key_len bytes of the key, which is as long at least. The port is open.
    let code = unsafe { dpdk_sys::rte_eth_dev_rss_hash_conf_get(id, &mut conf) };
    rss::doubt(wanted, if code == 0 { Ok((conf.rss_hf, &key)) } else { Err(code) })
}

/// Asks for it once more; what is wrong then.
fn insist_on_spread(id: u16, wanted: &Spread) -> Option<String> {
    let mut key = rss::SYMMETRIC_KEY;
    let mut conf =
        dpdk_sys::rte_eth_rss_conf { rss_key: key.as_mut_ptr(), rss_key_len: wanted.key_len, rss_hf: wanted.fields };
    // SAFETY: conf and key live through the call; the port is open. Whether it helped is read back.
    unsafe { dpdk_sys::rte_eth_dev_rss_hash_update(id, &mut conf) };
    doubt_spread(id, wanted)
}

fn probe(device: &str) -> Result<u16, Error> {
    let name = arguments::name(device);
    let no_port = |reason| Error::NoPort { device: device.to_owned(), reason };
    let arguments = CString::new(device).map_err(|error| no_port(error.to_string()))?;
    let port_name = CString::new(name).map_err(|error| no_port(error.to_string()))?;
    let mut id = 0;
    // SAFETY: both strings live through the calls; id is written on success.
    unsafe {
        if dpdk_sys::rte_eth_dev_get_port_by_name(port_name.as_ptr(), &mut id) == 0 {
            return Ok(id);
        }
        let code = dpdk_sys::rte_dev_probe(arguments.as_ptr());
        if code < 0 {
            return Err(no_port(reason(code)));
        }
        if dpdk_sys::rte_eth_dev_get_port_by_name(port_name.as_ptr(), &mut id) != 0 {
            return Err(no_port("it was probed but has no Ethernet port".to_owned()));
        }
    }
    Ok(id)
}

fn make_pool(id: u16, options: &PortOptions) -> Result<Arc<Pool>, Error> {
    let name = CString::new(format!("levee_{id}")).unwrap_or_default();
    // Per-thread cache: as large as helps, within what DPDK allows for the size of the pool.
    let cache = (options.mbufs / 4).min(256);
    // SAFETY: the name lives through the call; sizes are plain numbers that DPDK checks.
    let pool = unsafe {
        dpdk_sys::rte_pktmbuf_pool_create(
            name.as_ptr(),
            options.mbufs,
            cache,
            0,
            dpdk_sys::RTE_MBUF_DEFAULT_BUF_SIZE as u16,
            dpdk_sys::rte_eth_dev_socket_id(id),
        )
    };
    if pool.is_null() {
        return Err(Error::Pool { device: options.device.clone(), mbufs: options.mbufs, reason: last_reason() });
    }
    Ok(Arc::new(Pool(pool)))
}

/// One receive queue. There is one value for each queue, so one thread at most polls it.
#[derive(Debug)]
pub struct RxQueue {
    pub(super) port: u16,
    pub(super) queue: u16,
    #[expect(dead_code, reason = "keeps the pool alive")]
    pool: Arc<Pool>,
}

impl RxQueue {
    /// Which port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Which queue of the port.
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Gives back what the burst held, and fills it with at most `max` packets. Returns how many came.
    #[inline(always)]
    pub fn receive(&mut self, burst: &mut Burst, max: usize) -> usize {
        burst.free();
        // SAFETY: this is the only value for the queue, and it is borrowed mutably, so no other thread polls it. The array
        // holds BURST_MAX entries, and max is no more than that.
        let received = unsafe {
            let max = max.min(BURST_MAX) as u16;
            dpdk_sys::levee_rx_burst(self.port, self.queue, burst.mbufs.as_mut_ptr(), max)
        };
        burst.len = usize::from(received);
        burst.len
    }
}

impl RxQueue {
    /// Receives at most `max` packets and frees them unseen, by rte_eth_rx_burst and rte_pktmbuf_free_bulk: what any program
    /// that receives has to do.
    #[inline(always)]
    pub fn drain(&mut self, burst: &mut Burst, max: usize) -> usize {
        let received = self.receive(burst, max);
        burst.free_bulk();
        received
    }
}

/// Received packets, freed in bulk when the next ones come or the burst goes.
#[derive(Debug)]
pub struct Burst {
    mbufs: Box<[*mut rte_mbuf; BURST_MAX]>,
    len: usize,
}

// SAFETY: mbufs may be freed on any thread.
unsafe impl Send for Burst {}

impl Default for Burst {
    fn default() -> Burst {
        Burst { mbufs: Box::new([std::ptr::null_mut(); BURST_MAX]), len: 0 }
    }
}

impl Burst {
    /// How many packets.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The packets: the first segment of each, and the length in bytes of the whole frame, all segments. Skipping costs
    /// nothing.
    #[inline(always)]
    pub fn iter(&self) -> Packets<'_> {
        Packets(self.mbufs[..self.len.min(BURST_MAX)].iter())
    }

    /// Packet `index`, as [`Burst::iter`] gives it.
    pub fn get(&self, index: usize) -> Option<(&[u8], u32)> {
        self.iter().nth(index)
    }

    /// Asks the CPU to fetch the headers of all packets; gives the bytes of all frames.
    #[inline(always)]
    pub fn prefetch(&self) -> u64 {
        self.iter().fold(0, |bytes, (data, frame_len)| {
            super::prefetch(data);
            bytes + u64::from(frame_len)
        })
    }

    /// Calls `front` for the first segment of each packet, and leaves out as many bytes of its beginning as that says. The
    /// lengths of frames stay what they were.
    pub fn cut_fronts(&mut self, mut front: impl FnMut(&mut [u8]) -> usize) {
        for &mbuf in &self.mbufs[..self.len.min(BURST_MAX)] {
            // SAFETY: as in iter; nobody else has these mbufs, and they are borrowed mutably here. What is cut is no more than
            // data_len, so data_off and data_len stay within the buffer.
            unsafe {
                let field = |offset: u32| mbuf.byte_add(offset as usize);
                let buffer = field(LEVEE_MBUF_BUF_ADDR).cast::<*mut u8>().read();
                let (start, length) =
                    (field(LEVEE_MBUF_DATA_OFF).cast::<u16>(), field(LEVEE_MBUF_DATA_LEN).cast::<u16>());
                let data =
                    std::slice::from_raw_parts_mut(buffer.add(usize::from(start.read())), usize::from(length.read()));
                let cut = front(data).min(usize::from(length.read())) as u16;
                start.write(start.read() + cut);
                length.write(length.read() - cut);
            }
        }
    }

    /// Gives the mbufs back to where they came from.
    #[inline(always)]
    fn free(&mut self) {
        let mbufs = &mut self.mbufs[..self.len.min(BURST_MAX)];
        let Some(pool) = common_pool(mbufs) else { return self.free_bulk() };
        // SAFETY: these mbufs are ours since rte_eth_rx_burst gave them; len is set to 0 at once. All are of this pool, which
        // lives as long as any of its mbufs, and are as a pool wants to have them.
        unsafe { dpdk_sys::levee_mempool_put(pool, mbufs.as_mut_ptr(), mbufs.len() as u32) };
        self.len = 0;
    }

    /// The same by DPDK's own call.
    #[inline(always)]
    fn free_bulk(&mut self) {
        if self.len > 0 {
            // SAFETY: the first len mbufs are ours since rte_eth_rx_burst gave them; len is set to 0 at once.
            unsafe { dpdk_sys::rte_pktmbuf_free_bulk(self.mbufs.as_mut_ptr(), self.len as u32) };
            self.len = 0;
        }
    }
}

/// The pool of these mbufs, if all are of one, and each is as it came out of it: a single segment that nobody else holds, with
/// its data in its own buffer. Nearly all are, and go back with some 20 instructions less than rte_pktmbuf_free_bulk takes, which
/// finds that out for each alone. `None` of none.
#[inline(always)]
fn common_pool(mbufs: &[*mut rte_mbuf]) -> Option<*mut rte_mempool> {
    // SAFETY: the caller owns these mbufs; the fields are where the C compiler says.
    unsafe {
        let pool_of = |mbuf: *mut rte_mbuf| mbuf.byte_add(LEVEE_MBUF_POOL as usize).cast::<*mut rte_mempool>().read();
        let pool = pool_of(*mbufs.first()?);
        // What differs from an mbuf that nobody ever touched, and what is set.
        let (odd, set, pools) = mbufs.iter().fold((0, 0, 0), |(odd, set, pools), &mbuf| {
            let word = |offset: u32| mbuf.byte_add(offset as usize).cast_const().cast::<u64>().read();
            (
                odd | (word(LEVEE_MBUF_REARM_DATA) ^ LEVEE_MBUF_PLAIN),
                set | word(LEVEE_MBUF_OL_FLAGS) & LEVEE_MBUF_NOT_DIRECT | word(LEVEE_MBUF_NEXT),
                pools | (pool_of(mbuf) as u64) ^ (pool as u64),
            )
        });
        (odd & LEVEE_MBUF_PLAIN_MASK | set | pools == 0).then_some(pool)
    }
}

/// The packets of a [`Burst`].
#[derive(Clone, Debug)]
pub struct Packets<'a>(std::slice::Iter<'a, *mut rte_mbuf>);

impl<'a> Packets<'a> {
    #[inline(always)]
    fn packet(mbuf: *mut rte_mbuf) -> (&'a [u8], u32) {
        // SAFETY: only a burst makes these: its first len mbufs were given by rte_eth_rx_burst, and are freed only through
        // &mut self. The fields are where the C compiler says; data_off and data_len lie within the mbuf's buffer.
        unsafe {
            let field = |offset: u32| mbuf.byte_add(offset as usize).cast_const();
            let buffer = field(LEVEE_MBUF_BUF_ADDR).cast::<NonNull<u8>>().read();
            let start = field(LEVEE_MBUF_DATA_OFF).cast::<u16>().read();
            let length = field(LEVEE_MBUF_DATA_LEN).cast::<u16>().read();
            let data = NonNull::slice_from_raw_parts(buffer.add(usize::from(start)), usize::from(length)).as_ref();
            (data, field(LEVEE_MBUF_PKT_LEN).cast::<u32>().read())
        }
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = (&'a [u8], u32);

    #[inline(always)]
    fn next(&mut self) -> Option<(&'a [u8], u32)> {
        self.0.next().map(|&mbuf| Packets::packet(mbuf))
    }

    #[inline(always)]
    fn nth(&mut self, count: usize) -> Option<(&'a [u8], u32)> {
        self.0.nth(count).map(|&mbuf| Packets::packet(mbuf))
    }

    #[inline(always)]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }

    #[inline(always)]
    fn fold<B, F: FnMut(B, (&'a [u8], u32)) -> B>(self, start: B, mut function: F) -> B {
        self.0.fold(start, |folded, &mbuf| function(folded, Packets::packet(mbuf)))
    }
}

impl ExactSizeIterator for Packets<'_> {}

impl Drop for Burst {
    fn drop(&mut self) {
        self.free();
    }
}
