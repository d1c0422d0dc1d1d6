// SPDX-License-Identifier: GPL-2.0

#include <linux/lockdep.h>
#include <linux/xarray.h>

/*
 * The caller gives name and class, so that lockdep can tell the tables apart
 * (xa_init_flags() has one class for all that are initialised here).
 */
void cfh_xa_init_alloc(struct xarray *xa, const char *name,
		       struct lock_class_key *key)
{
	xa_init_flags(xa, XA_FLAGS_ALLOC);
	lockdep_set_class_and_name(&xa->xa_lock, key, name);
}

void cfh_xa_lock(struct xarray *xa)
{
	xa_lock(xa);
}

void cfh_xa_unlock(struct xarray *xa)
{
	xa_unlock(xa);
}

void *cfh_xas_next_entry(struct xa_state *xas, unsigned long max)
{
	return xas_next_entry(xas, max);
}

/* Also called without the lock: the answer may be stale at once. */
bool cfh_xa_marked(const struct xarray *xa, unsigned int mark)
{
	return data_race(xa_marked(xa, (__force xa_mark_t)mark));
}
