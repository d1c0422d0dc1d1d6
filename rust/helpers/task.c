// SPDX-License-Identifier: GPL-2.0

#include <linux/delay.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/string.h>

/* The name of the running task: other threads may change it meanwhile, but it always ends. */
void cfh_current_comm(char to[TASK_COMM_LEN])
{
	strscpy(to, current->comm, TASK_COMM_LEN);
}

void cfh_cond_resched(void)
{
	cond_resched();
}

/* Whether the running task is a process that is not exiting. */
bool cfh_current_lives(void)
{
	return !(current->flags & (PF_EXITING | PF_KTHREAD));
}

/*
 * Whether allocations of the running task do not call into file systems. For
 * readahead mm/readahead.c sets this.
 */
bool cfh_current_in_nofs(void)
{
	return current->flags & PF_MEMALLOC_NOFS;
}

/* An exiting task drops its descriptors before its last files are released. */

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
 * Waits until every task has slept or returned to user space. A kernel without
 * preemption needs only RCU for that, and has synchronize_rcu_tasks as another
 * name of it. A kernel with preemption has CONFIG_TASKS_RCU if it has BPF, kprobes
 * or function tracing. Without any of these a preempted task cannot be seen; then
 * this waits for some time instead.
 */
void cfh_synchronize_rcu_tasks(void)
{
	/* Interrupts, too. */
	synchronize_rcu();
	synchronize_rcu_tasks();
	if (IS_ENABLED(CONFIG_PREEMPTION) && !IS_ENABLED(CONFIG_TASKS_RCU))
		msleep(200);
}
