// SPDX-License-Identifier: GPL-2.0
/*
 * The end of a read for netfs that cannot take it in an interrupt.
 *
 * Until netfs collected reads by way of a rolling buffer, it did so wherever a
 * read ended, under locks that are only safe against softirqs. The cache's disk
 * ends reads in its interrupt: netfs warns, and now and then waits for a lock
 * that its own processor holds. (The C module does that to it as well.) There
 * is nobody else to tell the versions apart by than the header.
 */

#include <linux/netfs.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#if __has_include(<linux/rolling_buffer.h>)
#define CFH_NETFS_TAKES_INTERRUPTS true
#else
#define CFH_NETFS_TAKES_INTERRUPTS false
#endif

/* Whom to tell, and what. */
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

/*
 * Puts cfh_end_late in between. netfs is known by the hole that it asks for:
 * others are told at once. Process context; may sleep.
 *
 * Returns -ENOMEM if there is no memory. Then nothing has changed.
 */
static int cfh_end_read_late(enum netfs_read_from_hole hole,
			     netfs_io_terminated_t *func, void **private)
{
	struct cfh_late_end *end;

	if (CFH_NETFS_TAKES_INTERRUPTS || !*func ||
	    hole != NETFS_READ_HOLE_IGNORE)
		return 0;
	end = kmalloc(sizeof(*end), GFP_NOFS);
	if (!end)
		return -ENOMEM;
	end->func = *func;
	end->private = *private;
	*func = cfh_end_late;
	*private = end;
	return 0;
}
