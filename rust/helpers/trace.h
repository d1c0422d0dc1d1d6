/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One function for each tracepoint of cachefiles; see trace.c.
 *
 * An object is given by its debug id. Where the tracepoint may be hit without
 * an object, has_obj says whether obj means anything.
 */
#ifndef CFH_TRACE_H
#define CFH_TRACE_H

#include <linux/types.h>

struct dentry;
struct inode;

void cfh_trace_ref(u32 obj, u32 cookie, int usage, unsigned int why);
void cfh_trace_lookup(bool has_obj, u32 obj, struct dentry *dir,
		      struct dentry *de);
void cfh_trace_mkdir(struct dentry *dir, struct dentry *subdir);
void cfh_trace_tmpfile(u32 obj, struct inode *backer);
void cfh_trace_link(u32 obj, struct inode *backer);
void cfh_trace_unlink(bool has_obj, u32 obj, unsigned long ino,
		      unsigned int why);
void cfh_trace_rename(bool has_obj, u32 obj, unsigned long ino,
		      unsigned int why);
void cfh_trace_coherency(u32 obj, unsigned long ino, unsigned int content,
			 unsigned int why);
void cfh_trace_vol_coherency(u32 volume, unsigned long ino, unsigned int why);
void cfh_trace_prep_read(bool has_obj, u32 obj, loff_t start, size_t len,
			 unsigned short flags, unsigned int source,
			 unsigned int why, unsigned long cache_ino,
			 unsigned long netfs_ino);
void cfh_trace_read(u32 obj, struct inode *backer, loff_t start, size_t len);
void cfh_trace_write(u32 obj, struct inode *backer, loff_t start, size_t len);
void cfh_trace_trunc(u32 obj, struct inode *backer, loff_t from, loff_t to,
		     unsigned int why);
void cfh_trace_mark_active(bool has_obj, u32 obj, struct inode *inode);
void cfh_trace_mark_failed(bool has_obj, u32 obj, struct inode *inode);
void cfh_trace_mark_inactive(bool has_obj, u32 obj, struct inode *inode);
void cfh_trace_vfs_error(bool has_obj, u32 obj, struct inode *backer,
			 int error, unsigned int where);
void cfh_trace_io_error(bool has_obj, u32 obj, struct inode *backer,
			int error, unsigned int where);

void cfh_trace_ondemand_open(u32 obj, u32 msg_id, u32 object_id, u32 fd,
			     u32 flags);
void cfh_trace_ondemand_copen(u32 obj, u32 msg_id, long len);
void cfh_trace_ondemand_close(u32 obj, u32 msg_id, u32 object_id);
void cfh_trace_ondemand_read(u32 obj, u32 msg_id, u32 object_id, u64 off,
			     u64 len);
void cfh_trace_ondemand_cread(u32 obj, u32 msg_id);
void cfh_trace_ondemand_fd_write(u32 obj, struct inode *backer, loff_t start,
				 size_t len);
void cfh_trace_ondemand_fd_release(u32 obj, int object_id);

#endif
