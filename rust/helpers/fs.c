// SPDX-License-Identifier: GPL-2.0

#include <linux/backing-dev.h>
#include <linux/buffer_head.h>
#include <linux/dcache.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/ioprio.h>
#include <linux/iov_iter.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/security.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

/* Mounts and paths */

bool cfh_is_idmapped_mnt(const struct vfsmount *mnt)
{
	return is_idmapped_mnt(mnt);
}

/* An exiting task has given up its fs_struct: then there is no directory. */
bool cfh_get_current_pwd(struct path *pwd)
{
	if (!current->fs)
		return false;
	get_fs_pwd(current->fs, pwd);
	return true;
}

bool cfh_sb_rdonly(const struct super_block *sb)
{
	return sb_rdonly(sb);
}

/*
 * Prints the options of a mounted file system, as /proc/mounts has them. Returns the length. Not
 * for those that ask the seq_file who reads it.
 */
int cfh_show_options(struct super_block *sb, char *buf, size_t size)
{
	struct seq_file m = { .buf = buf, .size = size };
	int ret = 0;

	if (sb->s_op->show_options)
		ret = sb->s_op->show_options(&m, sb->s_root);
	if (ret)
		return ret;
	return seq_has_overflowed(&m) ? -E2BIG : m.count;
}

/* Reads from the disk of a file system, through its own buffers. The range lies in one block. */
int cfh_read_super(struct super_block *sb, u64 pos, void *to, size_t len)
{
	size_t offset = pos & (sb->s_blocksize - 1);
	struct buffer_head *bh;

	if (!sb->s_bdev || offset + len > sb->s_blocksize)
		return -EINVAL;
	bh = sb_bread(sb, pos >> sb->s_blocksize_bits);
	if (!bh)
		return -EIO;
	memcpy(to, bh->b_data + offset, len);
	brelse(bh);
	return 0;
}

/* Dentries */

/*
 * A reference to a dentry does not keep its file system from being shut down: an unmount would find
 * the dentry busy. A reference in s_active does, as a mount has one. The caller has another one, so
 * that the count is not zero.
 */
void cfh_hold_super(struct dentry *dentry)
{
	atomic_inc(&dentry->d_sb->s_active);
}

void cfh_dget_active(struct dentry *dentry)
{
	cfh_hold_super(dentry);
	dget(dentry);
}

void cfh_dput_active(struct dentry *dentry)
{
	struct super_block *sb = dentry->d_sb;

	dput(dentry);
	deactivate_super(sb);
}

struct inode *cfh_d_backing_inode(const struct dentry *dentry)
{
	return d_backing_inode(dentry);
}

bool cfh_d_is_negative(const struct dentry *dentry)
{
	return d_is_negative(dentry);
}

bool cfh_d_is_dir(const struct dentry *dentry)
{
	return d_is_dir(dentry);
}

bool cfh_d_is_reg(const struct dentry *dentry)
{
	return d_is_reg(dentry);
}

bool cfh_d_can_lookup(const struct dentry *dentry)
{
	return d_can_lookup(dentry);
}

bool cfh_d_unhashed(const struct dentry *dentry)
{
	return d_unhashed(dentry);
}

bool cfh_d_mountpoint(const struct dentry *dentry)
{
	return d_mountpoint(dentry);
}

/* Inodes */

void cfh_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

void cfh_inode_lock_parent(struct inode *inode)
{
	inode_lock_nested(inode, I_MUTEX_PARENT);
}

void cfh_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

loff_t cfh_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

/* The page cache of a file, where that is a copy of what is elsewhere */

bool cfh_has_cached_pages(const struct file *file, loff_t start, loff_t last)
{
	struct address_space *mapping = file->f_mapping;

	return mapping_can_writeback(mapping) &&
	       filemap_range_has_page(mapping, start, last);
}

int cfh_drop_cached_pages(const struct file *file)
{
	struct address_space *mapping = file->f_mapping;
	unsigned int flags;
	int ret;

	if (!mapping_can_writeback(mapping))
		return 0;
	flags = memalloc_nofs_save();
	ret = invalidate_inode_pages2(mapping);
	memalloc_nofs_restore(flags);
	return ret;
}

/* Security hooks: empty inline functions in a kernel without LSMs */

int cfh_security_path_mkdir(const struct path *dir, struct dentry *dentry,
			    umode_t mode)
{
	return security_path_mkdir(dir, dentry, mode);
}

int cfh_security_path_unlink(const struct path *dir, struct dentry *dentry)
{
	return security_path_unlink(dir, dentry);
}

int cfh_security_path_rename(const struct path *old_dir,
			     struct dentry *old_dentry,
			     const struct path *new_dir,
			     struct dentry *new_dentry)
{
	return security_path_rename(old_dir, old_dentry, new_dir, new_dentry, 0);
}

int cfh_security_inode_mkdir(struct inode *dir, struct dentry *dentry)
{
	return security_inode_mkdir(dir, dentry, 0);
}

int cfh_security_inode_create(struct inode *dir, struct dentry *dentry)
{
	return security_inode_create(dir, dentry, 0);
}

/* Direct I/O */

/*
 * At the priority of the running task, and with no allocation calling into a
 * file system.
 */
ssize_t cfh_iocb_read_nofs(struct kiocb *iocb, struct iov_iter *iter)
{
	unsigned int flags = memalloc_nofs_save();
	ssize_t ret;

	iocb->ki_ioprio = get_current_ioprio();
	ret = vfs_iocb_iter_read(iocb->ki_filp, iocb, iter);
	memalloc_nofs_restore(flags);
	return ret;
}

ssize_t cfh_iocb_write_nofs(struct kiocb *iocb, struct iov_iter *iter)
{
	unsigned int flags = memalloc_nofs_save();
	ssize_t ret;

	iocb->ki_ioprio = get_current_ioprio();
	ret = vfs_iocb_iter_write(iocb->ki_filp, iocb, iter);
	memalloc_nofs_restore(flags);
	return ret;
}

void cfh_kiocb_end_write(struct kiocb *iocb)
{
	kiocb_end_write(iocb);
}

size_t cfh_iov_iter_count(const struct iov_iter *iter)
{
	return iov_iter_count(iter);
}

void cfh_iov_iter_truncate(struct iov_iter *iter, size_t count)
{
	iov_iter_truncate(iter, count);
}

void cfh_iov_iter_reexpand(struct iov_iter *iter, size_t count)
{
	iov_iter_reexpand(iter, count);
}

bool cfh_iov_iter_is_bvec(const struct iov_iter *iter)
{
	return iov_iter_is_bvec(iter);
}

bool cfh_user_backed_iter(const struct iov_iter *iter)
{
	return user_backed_iter(iter);
}

static size_t copy_step(void *to, size_t progress, size_t len, void *from,
			void *unused)
{
	return len - copy_from_iter(to, len, from);
}

/*
 * Copies up to len bytes from one iterator to another, which is over memory of
 * the kernel, and advances both. Does not sleep: where memory of user space is
 * not there, it ends. Returns the bytes copied.
 */
size_t cfh_copy_iter_nofault(struct iov_iter *to, struct iov_iter *from,
			     size_t len)
{
	size_t copied;

	if (WARN_ON_ONCE(user_backed_iter(to)))
		return 0;
	len = min(len, iov_iter_count(from));
	pagefault_disable();
	copied = iterate_and_advance_kernel(to, len, from, NULL, copy_step);
	pagefault_enable();
	return copied;
}

const unsigned int CFH_CONST_LOOKUP_DIRECTORY = LOOKUP_DIRECTORY;
const int CFH_CONST_FALLOC_FL_ZERO_RANGE = FALLOC_FL_ZERO_RANGE;
const int CFH_CONST_FALLOC_FL_PUNCH_HOLE = FALLOC_FL_PUNCH_HOLE;
const int CFH_CONST_FALLOC_FL_KEEP_SIZE = FALLOC_FL_KEEP_SIZE;
/* The kernel's bindings may or may not have these: they depend on the config. */
const int CFH_CONST_CACHE_FILE_FLAGS = O_RDWR | O_LARGEFILE | O_DIRECT;
