// SPDX-License-Identifier: GPL-2.0

#include <linux/delay.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
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

/*
 * Allocations of the running task do not call into a file system. One that is
 * in the middle of readahead has this from mm/readahead.c.
 */
bool cfh_current_in_nofs(void)
{
	return current->flags & PF_MEMALLOC_NOFS;
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

bool cfh_try_module_get(struct module *module)
{
	return try_module_get(module);
}

void cfh_module_put(struct module *module)
{
	module_put(module);
}

/*
 * Every task has left the code that it was in: it slept, or went to user space,
 * since the call. A kernel that does not preempt needs RCU for that alone, and
 * has synchronize_rcu_tasks as another name of it. One that does preempt has
 * CONFIG_TASKS_RCU if it has BPF, kprobes or function tracing. Without any of
 * these nothing tells of a preempted task; then it is given time to go on.
 */
void cfh_synchronize_rcu_tasks(void)
{
	/* Interrupts, too. */
	synchronize_rcu();
	synchronize_rcu_tasks();
	if (IS_ENABLED(CONFIG_PREEMPTION) && !IS_ENABLED(CONFIG_TASKS_RCU))
		msleep(200);
}
