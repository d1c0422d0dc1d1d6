// SPDX-License-Identifier: GPL-2.0
/*
 * The end of a read for netfs that cannot take it in an interrupt.
 *
 * Until netfs collected reads by way of a rolling buffer, it did so wherever a
 * read ended, under locks that are only safe against softirqs. The cache's disk
 * ends reads in its interrupt: netfs warns, and deadlocks now and then on a lock
 * that its own processor holds. (With the C module it does so as well.) Only the
 * header tells the versions apart.
 */

#include <linux/completion.h>
#include <linux/netfs.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "ops.h"

#ifndef CFH_NETFS_TAKES_INTERRUPTS /* -D is for tests */
#if __has_include(<linux/rolling_buffer.h>)
#define CFH_NETFS_TAKES_INTERRUPTS true
#else
#define CFH_NETFS_TAKES_INTERRUPTS false
#endif
#endif

/* An end that is told late: the function to call, and its arguments. */
struct cfh_late_end {
	struct work_struct work;
	netfs_io_terminated_t func;
	void *private;
	ssize_t result;
};

static void cfh_end_in_worker(struct work_struct *work)
{
	struct cfh_late_end *end =
		container_of(work, struct cfh_late_end, work);

	end->func(end->private, end->result, true);
	kfree(end);
}

static void cfh_end_late(void *private, ssize_t result, bool was_async)
{
	struct cfh_late_end *end = private;

	if (in_hardirq() || irqs_disabled()) {
		end->result = result;
		INIT_WORK(&end->work, cfh_end_in_worker);
		queue_work(system_unbound_wq, &end->work);
		return;
	}
	end->func(end->private, result, was_async);
	kfree(end);
}

/* NULL if there is no memory. Process context; may sleep. */
static struct cfh_late_end *cfh_new_late_end(netfs_io_terminated_t func,
					     void *private)
{
	struct cfh_late_end *end = kmalloc(sizeof(*end), GFP_NOFS);

	if (end) {
		end->func = func;
		end->private = private;
	}
	return end;
}

/* Reads, and tells the end where netfs can take it. Consumes the late end. */
static int cfh_read_and_end_late(struct netfs_cache_resources *cres,
				 loff_t start, struct iov_iter *iter,
				 unsigned int hole, struct cfh_late_end *late)
{
	const struct cfh_termination done = {
		.func = cfh_end_late,
		.private = late,
	};

	return cfh_netfs_ops_of(cres)->read(cres, start, iter, hole, &done);
}

/* A read that its caller waits for. */
struct cfh_awaited_end {
	struct completion ended;
	ssize_t result;
};

static void cfh_end_awaited(void *private, ssize_t result, bool was_async)
{
	struct cfh_awaited_end *end = private;

	end->result = result;
	complete(&end->ended);
}

/*
 * Reads, waits for the end and tells it from here. This takes no memory. Process
 * context; sleeps.
 */
static int cfh_read_and_wait(struct netfs_cache_resources *cres, loff_t start,
			     struct iov_iter *iter, unsigned int hole,
			     netfs_io_terminated_t func, void *private)
{
	struct cfh_awaited_end awaited;
	const struct cfh_termination done = {
		.func = cfh_end_awaited,
		.private = &awaited,
	};

	init_completion(&awaited.ended);
	cfh_netfs_ops_of(cres)->read(cres, start, iter, hole, &done);
	wait_for_completion(&awaited.ended);
	func(private, awaited.result, false);
	return min_t(ssize_t, awaited.result, 0);
}

/*
 * Whether the end of a read has to be told late. Reads of netfs are recognised by
 * their hole: the ends of other reads are told at once. Inline, as the unit
 * tests take in this file for the other functions.
 */
static inline bool cfh_ends_late(enum netfs_read_from_hole hole,
				 netfs_io_terminated_t func)
{
	return !CFH_NETFS_TAKES_INTERRUPTS && func &&
	       hole == NETFS_READ_HOLE_IGNORE;
}
