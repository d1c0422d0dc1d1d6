// SPDX-License-Identifier: GPL-2.0

#include <linux/sched.h>
#include <linux/string.h>

/* Of the running task, so it is not rewritten meanwhile but by other threads; it always ends. */
void cfh_current_comm(char to[TASK_COMM_LEN])
{
	strscpy(to, current->comm, TASK_COMM_LEN);
}

void cfh_cond_resched(void)
{
	cond_resched();
}
