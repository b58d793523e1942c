/*
 * main.c - the contract suite on the backends of this binary, over TCP and over Unix sockets.
 */
#include <stdlib.h>
#include <sys/resource.h>

#include "contract.h"

int main(void)
{
	static struct contract_row rows[CONTRACT_ROWS + 1];
	struct rlimit limit;
	unsigned n = 0;

	/* A thousand connections have two thousand ends. */
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	for (unsigned i = 0; io_backends[i] && n + 2 <= CONTRACT_ROWS; i++) {
		rows[n++] = (struct contract_row){ .ops = io_backends[i], .peers = &peer_tcp };
		rows[n++] = (struct contract_row){ .ops = io_backends[i], .peers = &peer_unix };
	}
	return contract_main(rows);
}
