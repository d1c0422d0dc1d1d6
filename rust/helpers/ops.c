// SPDX-License-Identifier: GPL-2.0
/*
 * The operations whose prototypes Rust cannot have. KCFI (CONFIG_CFI_CLANG) lets
 * a function be called by way of a pointer only where both agree on the
 * prototype, and there an enum is a type of its own, which to Rust is a number;
 * and so is a pointer to a function that may be NULL, which to Rust is an
 * option. Those operations are done here, and go on to functions of Rust's that
 * take numbers and a pointer to a struct.
 */

#include "ops.h"
#include "late.c"

bool cfh_begin_operation(struct netfs_cache_resources *cres,
			 enum fscache_want_state want)
{
	const struct fscache_cache *cache =
		fscache_cres_cookie(cres)->volume->cache;

	return container_of(cache->ops, struct cfh_cache_ops, ops)
		->begin_operation(cres, want);
}

int cfh_read(struct netfs_cache_resources *cres, loff_t start,
	     struct iov_iter *iter, enum netfs_read_from_hole hole,
	     netfs_io_terminated_t func, void *private)
{
	const struct cfh_termination done = { .func = func, .private = private };
	struct cfh_late_end *late;

	if (!cfh_ends_late(hole, func))
		return cfh_netfs_ops_of(cres)->read(cres, start, iter, hole, &done);

	late = cfh_new_late_end(func, private);
	if (late)
		return cfh_read_and_end_late(cres, start, iter, hole, late);
	return cfh_read_and_wait(cres, start, iter, hole, func, private);
}

int cfh_write(struct netfs_cache_resources *cres, loff_t start,
	      struct iov_iter *iter, netfs_io_terminated_t func, void *private)
{
	const struct cfh_termination done = { .func = func, .private = private };

	return cfh_netfs_ops_of(cres)->write(cres, start, iter, &done);
}

enum netfs_io_source cfh_prepare_read(struct netfs_io_subrequest *subreq,
				      unsigned long long i_size)
{
	const struct netfs_cache_resources *cres =
		&subreq->rreq->cache_resources;

	return cfh_netfs_ops_of(cres)->prepare_read(subreq, i_size);
}

enum netfs_io_source
cfh_prepare_ondemand_read(struct netfs_cache_resources *cres, loff_t start,
			  size_t *len, loff_t i_size, unsigned long *flags,
			  ino_t ino)
{
	return cfh_netfs_ops_of(cres)->prepare_ondemand_read(cres, start, len,
							     i_size, flags, ino);
}
