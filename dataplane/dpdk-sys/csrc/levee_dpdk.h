/* What Levee uses of DPDK: the header that bindgen reads. Below: a shim for static inline functions, and for fields that
 * move between DPDK releases. */
#ifndef LEVEE_DPDK_H
#define LEVEE_DPDK_H

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* A received frame: its first segment, and the length of all segments. */
struct levee_frame {
	const uint8_t *data;
	uint32_t data_len;
	uint32_t pkt_len;
};

/* rte_eth_rx_burst, and then each mbuf's frame. Returns how many came. */
uint16_t levee_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, struct levee_frame *frames, uint16_t n);
/* rte_eth_rx_burst alone. */
uint16_t levee_rx_only(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
/* rte_errno of this thread. */
int levee_errno(void);
/* Calls `rewrite(context, data, data_len)` for each frame inside rte_eth_rx_burst. NULL: not installed. */
typedef void (*levee_rewrite_fn)(void *context, uint8_t *data, uint32_t data_len);
struct levee_rewrite {
	levee_rewrite_fn rewrite;
	void *context;
};
const void *levee_add_rewrite(uint16_t port, uint16_t queue, struct levee_rewrite *rewrite);

#endif
