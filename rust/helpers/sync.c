// SPDX-License-Identifier: GPL-2.0

#include <linux/completion.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/wait.h>

/* Of kernel_ext::global */
static DEFINE_MUTEX(cfh_global_mutex);

void cfh_lock_global(void)
{
	mutex_lock(&cfh_global_mutex);
}

void cfh_unlock_global(void)
{
	mutex_unlock(&cfh_global_mutex);
}

void cfh_init_completion(struct completion *done)
{
	init_completion(done);
}

void cfh_poll_wait(struct file *file, struct wait_queue_head *head,
		   struct poll_table_struct *table)
{
	poll_wait(file, head, table);
}

void cfh_init_waitqueue_head(struct wait_queue_head *head)
{
	init_waitqueue_head(head);
}

void cfh_wake_up_all(struct wait_queue_head *head)
{
	wake_up_all(head);
}

const unsigned int CFH_CONST_EPOLLIN = (__force unsigned int)EPOLLIN;
const unsigned int CFH_CONST_EPOLLOUT = (__force unsigned int)EPOLLOUT;
const unsigned int CFH_CONST_EPOLLERR = (__force unsigned int)EPOLLERR;
