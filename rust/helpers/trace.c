// SPDX-License-Identifier: GPL-2.0
/*
 * The tracepoints, made from the kernel's own <trace/events/cachefiles.h>: so
 * their names, fields and texts are those of the kernel the module is built
 * for. The structs that a tracepoint reads are made on the stack, and only while
 * it is enabled.
 */

#include "trace.h"
#include "trace_types.h"

#define CREATE_TRACE_POINTS
#include <trace/events/cachefiles.h>

void cfh_trace_ref(u32 obj, u32 cookie, int usage, unsigned int why)
{
	trace_cachefiles_ref(obj, cookie, usage, why);
}

void cfh_trace_lookup(bool has_obj, u32 obj, struct dentry *dir,
		      struct dentry *de)
{
	/* The tracepoint reads the directory's inode. */
	if (trace_cachefiles_lookup_enabled() && d_backing_inode(dir)) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_lookup(has_obj ? &object : NULL, dir, de);
	}
}

void cfh_trace_mkdir(struct dentry *dir, struct dentry *subdir)
{
	/* The tracepoint reads both inodes. */
	if (trace_cachefiles_mkdir_enabled() && d_backing_inode(dir) &&
	    d_backing_inode(subdir))
		trace_cachefiles_mkdir(dir, subdir);
}

void cfh_trace_tmpfile(u32 obj, struct inode *backer)
{
	if (trace_cachefiles_tmpfile_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_tmpfile(&object, backer);
	}
}

void cfh_trace_link(u32 obj, struct inode *backer)
{
	if (trace_cachefiles_link_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_link(&object, backer);
	}
}

void cfh_trace_unlink(bool has_obj, u32 obj, unsigned long ino,
		      unsigned int why)
{
	if (trace_cachefiles_unlink_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_unlink(has_obj ? &object : NULL, ino, why);
	}
}

void cfh_trace_rename(bool has_obj, u32 obj, unsigned long ino,
		      unsigned int why)
{
	if (trace_cachefiles_rename_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_rename(has_obj ? &object : NULL, ino, why);
	}
}

void cfh_trace_coherency(u32 obj, unsigned long ino, unsigned int content,
			 unsigned int why)
{
	if (trace_cachefiles_coherency_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_coherency(&object, ino, content, why);
	}
}

void cfh_trace_vol_coherency(u32 volume, unsigned long ino, unsigned int why)
{
	if (trace_cachefiles_vol_coherency_enabled()) {
		struct fscache_volume cookie = { .debug_id = volume };
		struct cachefiles_volume v = { .vcookie = &cookie };

		trace_cachefiles_vol_coherency(&v, ino, why);
	}
}

void cfh_trace_prep_read(bool has_obj, u32 obj, loff_t start, size_t len,
			 unsigned short flags, unsigned int source,
			 unsigned int why, unsigned long cache_ino,
			 unsigned long netfs_ino)
{
	if (trace_cachefiles_prep_read_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_prep_read(has_obj ? &object : NULL, start, len,
					   flags, source, why, cache_ino,
					   netfs_ino);
	}
}

void cfh_trace_read(u32 obj, struct inode *backer, loff_t start, size_t len)
{
	if (trace_cachefiles_read_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_read(&object, backer, start, len);
	}
}

void cfh_trace_write(u32 obj, struct inode *backer, loff_t start, size_t len)
{
	if (trace_cachefiles_write_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_write(&object, backer, start, len);
	}
}

void cfh_trace_trunc(u32 obj, struct inode *backer, loff_t from, loff_t to,
		     unsigned int why)
{
	if (trace_cachefiles_trunc_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_trunc(&object, backer, from, to, why);
	}
}

void cfh_trace_mark_active(bool has_obj, u32 obj, struct inode *inode)
{
	if (trace_cachefiles_mark_active_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_mark_active(has_obj ? &object : NULL, inode);
	}
}

void cfh_trace_mark_failed(bool has_obj, u32 obj, struct inode *inode)
{
	if (trace_cachefiles_mark_failed_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_mark_failed(has_obj ? &object : NULL, inode);
	}
}

void cfh_trace_mark_inactive(bool has_obj, u32 obj, struct inode *inode)
{
	if (trace_cachefiles_mark_inactive_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_mark_inactive(has_obj ? &object : NULL, inode);
	}
}

void cfh_trace_vfs_error(bool has_obj, u32 obj, struct inode *backer,
			 int error, unsigned int where)
{
	if (trace_cachefiles_vfs_error_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_vfs_error(has_obj ? &object : NULL, backer,
					   error, where);
	}
}

void cfh_trace_io_error(bool has_obj, u32 obj, struct inode *backer,
			int error, unsigned int where)
{
	if (trace_cachefiles_io_error_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_io_error(has_obj ? &object : NULL, backer,
					  error, where);
	}
}

void cfh_trace_ondemand_open(u32 obj, u32 msg_id, u32 object_id, u32 fd,
			     u32 flags)
{
	if (trace_cachefiles_ondemand_open_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };
		struct cachefiles_msg msg = {
			.msg_id = msg_id,
			.object_id = object_id,
		};
		struct cachefiles_open load = { .fd = fd, .flags = flags };

		trace_cachefiles_ondemand_open(&object, &msg, &load);
	}
}

void cfh_trace_ondemand_copen(u32 obj, u32 msg_id, long len)
{
	if (trace_cachefiles_ondemand_copen_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_ondemand_copen(&object, msg_id, len);
	}
}

void cfh_trace_ondemand_close(u32 obj, u32 msg_id, u32 object_id)
{
	if (trace_cachefiles_ondemand_close_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };
		struct cachefiles_msg msg = {
			.msg_id = msg_id,
			.object_id = object_id,
		};

		trace_cachefiles_ondemand_close(&object, &msg);
	}
}

void cfh_trace_ondemand_read(u32 obj, u32 msg_id, u32 object_id, u64 off,
			     u64 len)
{
	if (trace_cachefiles_ondemand_read_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };
		struct cachefiles_msg msg = {
			.msg_id = msg_id,
			.object_id = object_id,
		};
		struct cachefiles_read load = { .off = off, .len = len };

		trace_cachefiles_ondemand_read(&object, &msg, &load);
	}
}

void cfh_trace_ondemand_cread(u32 obj, u32 msg_id)
{
	if (trace_cachefiles_ondemand_cread_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_ondemand_cread(&object, msg_id);
	}
}

void cfh_trace_ondemand_fd_write(u32 obj, struct inode *backer, loff_t start,
				 size_t len)
{
	if (trace_cachefiles_ondemand_fd_write_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_ondemand_fd_write(&object, backer, start, len);
	}
}

void cfh_trace_ondemand_fd_release(u32 obj, int object_id)
{
	if (trace_cachefiles_ondemand_fd_release_enabled()) {
		struct cachefiles_object object = { .debug_id = obj };

		trace_cachefiles_ondemand_fd_release(&object, object_id);
	}
}
