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

/* In the middle of its life: no kernel thread, and not on its way out. */
bool cfh_current_lives(void)
{
	return !(current->flags & (PF_EXITING | PF_KTHREAD));
}

/* An exiting task gives these up before its last files are released. */

bool cfh_current_has_files(void)
{
	return current->files;
}

bool cfh_current_has_fs(void)
{
	return current->fs;
}
