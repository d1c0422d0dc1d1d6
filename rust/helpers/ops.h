/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tables of operations, as C and Rust see them. fscache and netfs see the
 * first member of each table. The rest is behind it.
 */

#ifndef CFH_OPS_H
#define CFH_OPS_H

#include <linux/container_of.h>
#include <linux/fscache-cache.h>
#include <linux/netfs.h>

struct cfh_cache_ops {
	struct fscache_cache_ops ops;
	bool (*begin_operation)(struct netfs_cache_resources *cres,
				unsigned int want);
};

/* The function to call at the end of a read or write; none where func is NULL. */
struct cfh_termination {
	netfs_io_terminated_t func;
	void *private;
};

struct cfh_netfs_ops {
	struct netfs_cache_ops ops;
	int (*read)(struct netfs_cache_resources *cres, loff_t start,
		    struct iov_iter *iter, unsigned int hole,
		    const struct cfh_termination *done);
	int (*write)(struct netfs_cache_resources *cres, loff_t start,
		     struct iov_iter *iter, const struct cfh_termination *done);
	int (*prepare_read)(struct netfs_io_subrequest *subreq,
			    unsigned long long i_size);
	int (*prepare_ondemand_read)(struct netfs_cache_resources *cres,
				     loff_t start, size_t *len, loff_t i_size,
				     unsigned long *flags, unsigned long ino);
};

/* Returns the whole table by which the operation was called. */
static inline const struct cfh_netfs_ops *
cfh_netfs_ops_of(const struct netfs_cache_resources *cres)
{
	return container_of(cres->ops, struct cfh_netfs_ops, ops);
}

#endif /* CFH_OPS_H */
