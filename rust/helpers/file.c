// SPDX-License-Identifier: GPL-2.0

#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>

const int CFH_CONST_MISC_DYNAMIC_MINOR = MISC_DYNAMIC_MINOR;

void cfh_get_file(struct file *file)
{
	get_file(file);
}

/* Makes a file with a position, as files of file systems have: for pwrite() and lseek(). */
struct file *cfh_anon_inode_getfile(const char *name,
				    const struct file_operations *fops,
				    void *priv, unsigned int flags)
{
	struct file *file = anon_inode_getfile(name, fops, priv, flags);

	if (!IS_ERR(file))
		file->f_mode |= FMODE_PWRITE | FMODE_LSEEK;
	return file;
}
