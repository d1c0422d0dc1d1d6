// SPDX-License-Identifier: GPL-2.0
/*
 * C helpers of the unit tests: inline functions and macros, and callbacks
 * that the kernel has no table for. All have the prefix cfk_.
 *
 * This file is compiled into the module of the tests, and read by bindgen.
 */

#include <linux/atomic.h>
#include <linux/bvec.h>
#include <linux/dcache.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fscache.h>
#include <linux/fs_struct.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/preempt.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

/* Where the end of a read can be told late, though not for this kernel's netfs. */
#include "../helpers/late.c"

/* The module, and the threads that run its code */

void cfk_module_get(void)
{
	__module_get(THIS_MODULE);
}

void cfk_module_put(void)
{
	module_put(THIS_MODULE);
}

/* Negative where the kernel does not count: then no module can go at all. */
int cfk_module_refcount(void)
{
#ifdef CONFIG_MODULE_UNLOAD
	return module_refcount(THIS_MODULE);
#else
	return -1;
#endif
}

/* A kernel thread ignores every signal but those that it asks for. */
void cfk_allow_signals(void)
{
	allow_signal(SIGKILL);
	allow_signal(SIGUSR1);
}

/* The files and the root of a task, which it drops when it exits */

struct cfk_belongings {
	struct files_struct *files;
	struct fs_struct *fs;
};

/* Swaps the files and the root of the running task with those in *all. */
void cfk_swap_belongings(struct cfk_belongings *all)
{
	task_lock(current);
	swap(current->files, all->files);
	swap(current->fs, all->fs);
	task_unlock(current);
}

/* A worker of its own that takes one work at a time */

struct workqueue_struct *cfk_alloc_ordered_workqueue(const char *name)
{
	return alloc_ordered_workqueue("%s", 0, name);
}

/* Pollers of a file, as select and epoll are */

struct cfk_poller {
	struct poll_table_struct table;
	struct wait_queue_entry entry;
	struct wait_queue_head *head;
	struct file *file;
	__poll_t events;
	bool exclusive;
	atomic_t wakeups;
};

static int cfk_poller_wake(struct wait_queue_entry *entry, unsigned int mode,
			   int flags, void *key)
{
	struct cfk_poller *poller =
		container_of(entry, struct cfk_poller, entry);

	/* Only for the events of this poller. */
	if (key && !(key_to_poll(key) & poller->events))
		return 0;
	atomic_inc(&poller->wakeups);
	return 1;
}

static void cfk_poller_queue(struct file *file, struct wait_queue_head *head,
			     struct poll_table_struct *table)
{
	struct cfk_poller *poller =
		container_of(table, struct cfk_poller, table);

	if (WARN_ON_ONCE(poller->head))
		return;
	poller->head = head;
	if (poller->exclusive)
		add_wait_queue_exclusive(head, &poller->entry);
	else
		add_wait_queue(head, &poller->entry);
}

/* Polls the file, and waits from then on. The ready events go to *ready. */
struct cfk_poller *cfk_poller_new(struct file *file, unsigned int events,
				  bool exclusive, unsigned int *ready)
{
	struct cfk_poller *poller = kzalloc(sizeof(*poller), GFP_KERNEL);

	if (!poller)
		return NULL;
	init_poll_funcptr(&poller->table, cfk_poller_queue);
	init_waitqueue_func_entry(&poller->entry, cfk_poller_wake);
	poller->file = get_file(file);
	poller->events = (__force __poll_t)events;
	poller->exclusive = exclusive;
	*ready = (__force unsigned int)vfs_poll(file, &poller->table);
	return poller;
}

bool cfk_poller_waits(const struct cfk_poller *poller)
{
	return poller->head;
}

int cfk_poller_wakeups(const struct cfk_poller *poller)
{
	return atomic_read(&poller->wakeups);
}

void cfk_poller_free(struct cfk_poller *poller)
{
	if (poller->head)
		remove_wait_queue(poller->head, &poller->entry);
	fput(poller->file);
	kfree(poller);
}

/* Memory as a list of pages, with one contiguous part */

void cfk_iov_iter_bvec(struct iov_iter *iter, struct bio_vec *bvec, void *memory,
		       size_t bytes)
{
	bvec_set_virt(bvec, memory, bytes);
	iov_iter_bvec(iter, ITER_DEST, bvec, 1, bytes);
}

/* Refcounts and owners of files */

long cfk_file_count(const struct file *file)
{
	return file_count(file);
}

unsigned int cfk_inode_uid(const struct inode *inode)
{
	return from_kuid(&init_user_ns, inode->i_uid);
}

int cfk_set_owner(struct dentry *dentry, unsigned int uid)
{
	struct iattr attr = {
		.ia_valid	= ATTR_UID,
		.ia_uid		= make_kuid(&init_user_ns, uid),
	};
	int ret;

	inode_lock(d_inode(dentry));
	ret = notify_change(&nop_mnt_idmap, dentry, &attr, NULL);
	inode_unlock(d_inode(dentry));
	return ret;
}

/* Operations on a cookie, by the table of the cache */

int cfk_fscache_read(struct netfs_cache_resources *cres, loff_t start,
		     struct iov_iter *iter, enum netfs_read_from_hole hole,
		     netfs_io_terminated_t func, void *priv)
{
	return fscache_read(cres, start, iter, hole, func, priv);
}

/*
 * Reads as on a kernel whose netfs cannot take the end in an interrupt: the end is
 * told by a worker or, where is_awaited, by the caller, as if there were no memory.
 */
int cfk_read_late(struct netfs_cache_resources *cres, loff_t start,
		  struct iov_iter *iter, enum netfs_read_from_hole hole,
		  netfs_io_terminated_t func, void *priv, bool is_awaited)
{
	struct cfh_late_end *late;

	if (is_awaited)
		return cfh_read_and_wait(cres, start, iter, hole, func, priv);
	late = cfh_new_late_end(func, priv);
	if (!late) {
		func(priv, -ENOMEM, false);
		return -ENOMEM;
	}
	return cfh_read_and_end_late(cres, start, iter, hole, late);
}

/* Whether locks that are only safe against softirqs must not be taken here. */
bool cfk_is_in_interrupt(void)
{
	return in_hardirq() || irqs_disabled();
}

int cfk_fscache_write(struct netfs_cache_resources *cres, loff_t start,
		      struct iov_iter *iter, netfs_io_terminated_t func,
		      void *priv)
{
	return fscache_write(cres, start, iter, func, priv);
}

int cfk_query_occupancy(struct netfs_cache_resources *cres, loff_t start,
			size_t len, size_t granularity, loff_t *data_start,
			size_t *data_len)
{
	return cres->ops->query_occupancy(cres, start, len, granularity,
					  data_start, data_len);
}

int cfk_prepare_write(struct netfs_cache_resources *cres, loff_t *start,
		      size_t *len, size_t upper_len)
{
	return cres->ops->prepare_write(cres, start, len, upper_len, LLONG_MAX,
					false);
}

/* Prepares a read as EROFS does. Returns whether it is to be read from the cache. */
bool cfk_fscache_prepare_ondemand_read(struct netfs_cache_resources *cres,
				       loff_t start, size_t *len)
{
	unsigned long flags = 1 << NETFS_SREQ_ONDEMAND;

	return cres->ops->prepare_ondemand_read(cres, start, len, LLONG_MAX,
						&flags, 0) ==
	       NETFS_READ_FROM_CACHE;
}

void cfk_fscache_end_operation(struct netfs_cache_resources *cres)
{
	fscache_end_operation(cres);
}
