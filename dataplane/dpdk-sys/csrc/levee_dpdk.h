/* What Levee uses of DPDK: the header that bindgen reads. Below: a shim for static inline functions, and for fields that
 * move between DPDK releases. */
#ifndef LEVEE_DPDK_H
#define LEVEE_DPDK_H

#include <stddef.h>

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

/* Where the fields of an mbuf are: they move between releases, and differ in how unions name them. */
enum levee_mbuf {
	LEVEE_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	LEVEE_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	LEVEE_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	LEVEE_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	LEVEE_MBUF_REARM_DATA = offsetof(struct rte_mbuf, rearm_data),
	LEVEE_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	LEVEE_MBUF_NEXT = offsetof(struct rte_mbuf, next),
	LEVEE_MBUF_POOL = offsetof(struct rte_mbuf, pool),
};

/* The word at rearm_data, of an mbuf with one holder and one segment, and its bits that say so. */
#define LEVEE_MBUF_BITS(field, value) ((uint64_t)(value) << (8 * (offsetof(struct rte_mbuf, field) - LEVEE_MBUF_REARM_DATA)))
static const uint64_t LEVEE_MBUF_PLAIN = LEVEE_MBUF_BITS(refcnt, 1) | LEVEE_MBUF_BITS(nb_segs, 1);
static const uint64_t LEVEE_MBUF_PLAIN_MASK = LEVEE_MBUF_BITS(refcnt, 0xffff) | LEVEE_MBUF_BITS(nb_segs, 0xffff);
/* Bits of ol_flags of an mbuf whose data lie elsewhere. */
static const uint64_t LEVEE_MBUF_NOT_DIRECT = RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;

uint16_t levee_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
void levee_mempool_put(struct rte_mempool *pool, struct rte_mbuf **mbufs, uint32_t n);
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
