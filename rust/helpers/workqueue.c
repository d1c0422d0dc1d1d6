// SPDX-License-Identifier: GPL-2.0

#include <linux/workqueue.h>

void cfh_init_delayed_work(struct delayed_work *work, work_func_t run)
{
	INIT_DELAYED_WORK(work, run);
}

bool cfh_queue_delayed_work(struct delayed_work *work, unsigned long ticks)
{
	return queue_delayed_work(system_unbound_wq, work, ticks);
}
