// SPDX-License-Identifier: GPL-2.0

#include <linux/debugfs.h>
#include <linux/seq_file.h>

struct dentry *cfh_debugfs_create_dir(const char *name)
{
	return debugfs_create_dir(name, NULL);
}

void cfh_debugfs_create_file(const char *name, struct dentry *parent,
			     const struct file_operations *fops)
{
	debugfs_create_file(name, 0400, parent, NULL, fops);
}

void cfh_debugfs_remove(struct dentry *dentry)
{
	debugfs_remove(dentry);
}
