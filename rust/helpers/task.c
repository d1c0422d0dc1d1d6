// SPDX-License-Identifier: GPL-2.0

#include <linux/jiffies.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/string.h>

unsigned int cfh_memalloc_nofs_save(void)
{
	return memalloc_nofs_save();
}

void cfh_memalloc_nofs_restore(unsigned int flags)
{
	memalloc_nofs_restore(flags);
}

/* Of the running task, so it is not rewritten meanwhile but by other threads; it always ends. */
void cfh_current_comm(char to[TASK_COMM_LEN])
{
	strscpy(to, current->comm, TASK_COMM_LEN);
}

unsigned long cfh_jiffies(void)
{
	return jiffies;
}

void cfh_cond_resched(void)
{
	cond_resched();
}
