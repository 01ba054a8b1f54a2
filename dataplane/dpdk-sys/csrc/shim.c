#include "levee_dpdk.h"

uint16_t levee_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, struct levee_frame *frames, uint16_t n)
{
	uint16_t received = rte_eth_rx_burst(port, queue, mbufs, n);

	for (uint16_t i = 0; i < received; i++) {
		struct rte_mbuf *mbuf = mbufs[i];

		frames[i].data = rte_pktmbuf_mtod(mbuf, const uint8_t *);
		frames[i].data_len = mbuf->data_len;
		frames[i].pkt_len = mbuf->pkt_len;
	}
	return received;
}

uint16_t levee_rx_only(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, mbufs, n);
}

int levee_errno(void)
{
	return rte_errno;
}

static uint16_t rewrite_burst(uint16_t port, uint16_t queue, struct rte_mbuf *mbufs[], uint16_t received, uint16_t max,
			      void *user)
{
	struct levee_rewrite *rewrite = user;

	(void)port;
	(void)queue;
	(void)max;
	for (uint16_t i = 0; i < received; i++)
		rewrite->rewrite(rewrite->context, rte_pktmbuf_mtod(mbufs[i], uint8_t *), mbufs[i]->data_len);
	return received;
}

const void *levee_add_rewrite(uint16_t port, uint16_t queue, struct levee_rewrite *rewrite)
{
	return rte_eth_add_rx_callback(port, queue, rewrite_burst, rewrite);
}
