// SPDX-License-Identifier: GPL-2.0

#include <linux/workqueue.h>

void cfh_init_delayed_work(struct delayed_work *work, work_func_t run,
			   struct lock_class_key *key)
{
	/* With one class for all, one could not wait for another. */
	__INIT_WORK_KEY(&work->work, run, 0, key);
	timer_setup(&work->timer, delayed_work_timer_fn, TIMER_IRQSAFE);
}

bool cfh_queue_delayed_work(struct delayed_work *work, unsigned long ticks)
{
	return queue_delayed_work(system_unbound_wq, work, ticks);
}
