#include "levee_dpdk.h"

uint16_t levee_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, mbufs, n);
}

void levee_mempool_put(struct rte_mempool *pool, struct rte_mbuf **mbufs, uint32_t n)
{
	rte_mempool_put_bulk(pool, (void *const *)mbufs, n);
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
