// SPDX-License-Identifier: GPL-2.0

#include <linux/fscache-cache.h>
#include <linux/string.h>
#include <trace/events/fscache.h>

/* Caches */

void cfh_fscache_count_object(struct fscache_cache *cache)
{
	fscache_count_object(cache);
}

void cfh_fscache_uncount_object(struct fscache_cache *cache)
{
	fscache_uncount_object(cache);
}

void cfh_fscache_wait_for_objects(struct fscache_cache *cache)
{
	fscache_wait_for_objects(cache);
}

/* New accesses begin in this state only. */
bool cfh_fscache_cache_is_active(const struct fscache_cache *cache)
{
	return smp_load_acquire(&cache->state) == FSCACHE_CACHE_IS_ACTIVE;
}

/* Volumes */

/*
 * An attached volume has one extra access, so that the count reaches 0 only after
 * fscache_withdraw_volume().
 */
void cfh_fscache_pin_volume(struct fscache_volume *volume)
{
	int n_accesses = atomic_inc_return(&volume->n_accesses);

	trace_fscache_access_volume(volume->debug_id, 0,
				    refcount_read(&volume->ref), n_accesses,
				    fscache_access_cache_pin);
}

int cfh_fscache_volume_accesses(const struct fscache_volume *volume)
{
	return atomic_read(&volume->n_accesses);
}

struct fscache_volume *cfh_fscache_try_get_volume(struct fscache_volume *volume)
{
	return fscache_try_get_volume(volume, fscache_volume_get_withdraw);
}

void cfh_fscache_put_volume(struct fscache_volume *volume)
{
	fscache_put_volume(volume, fscache_volume_put_withdraw);
}

/* Copies the coherency data, as the owner may change it at any time. */
void cfh_fscache_copy_volume_coherency(const struct fscache_volume *volume,
				       u8 *to)
{
	memcpy(to, volume->coherency, volume->coherency_len);
}

/* Cookies */

struct fscache_cookie *cfh_fscache_get_cookie(struct fscache_cookie *cookie)
{
	return fscache_get_cookie(cookie, fscache_cookie_get_attach_object);
}

void cfh_fscache_put_cookie(struct fscache_cookie *cookie)
{
	fscache_put_cookie(cookie, fscache_cookie_put_object);
}

const void *cfh_fscache_get_key(struct fscache_cookie *cookie)
{
	return fscache_get_key(cookie);
}

/* As for a volume's coherency data. */
void cfh_fscache_copy_aux(struct fscache_cookie *cookie, u8 *to)
{
	memcpy(to, fscache_get_aux(cookie), cookie->aux_len);
}

void cfh_fscache_set_cookie_flag(struct fscache_cookie *cookie, unsigned int nr)
{
	set_bit(nr, &cookie->flags);
}

void cfh_fscache_clear_cookie_flag(struct fscache_cookie *cookie,
				   unsigned int nr)
{
	clear_bit(nr, &cookie->flags);
}

bool cfh_fscache_test_and_clear_cookie_flag(struct fscache_cookie *cookie,
					    unsigned int nr)
{
	return test_and_clear_bit(nr, &cookie->flags);
}

void cfh_fscache_end_io_access(struct fscache_cookie *cookie)
{
	fscache_end_cookie_access(cookie, fscache_access_io_end);
}

/* Counters of /proc/fs/fscache/stats: nothing in a kernel without them */

void cfh_fscache_count_no_write_space(void)
{
	fscache_count_no_write_space();
}

void cfh_fscache_count_no_create_space(void)
{
	fscache_count_no_create_space();
}

void cfh_fscache_count_read(void)
{
	fscache_count_read();
}

void cfh_fscache_count_write(void)
{
	fscache_count_write();
}

void cfh_fscache_count_culled(void)
{
	fscache_count_culled();
}

void cfh_fscache_count_dio_misfit(void)
{
	fscache_count_dio_misfit();
}
