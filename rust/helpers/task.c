// SPDX-License-Identifier: GPL-2.0

#include <linux/sched.h>
#include <linux/sched/mm.h>

unsigned int cfh_memalloc_nofs_save(void)
{
	return memalloc_nofs_save();
}

void cfh_memalloc_nofs_restore(unsigned int flags)
{
	memalloc_nofs_restore(flags);
}

void cfh_cond_resched(void)
{
	cond_resched();
}
