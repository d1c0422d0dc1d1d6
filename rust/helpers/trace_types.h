/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Declarations that <trace/events/cachefiles.h> needs in front of it. It reads two
 * structures that are private to the C module: they are declared here with
 * just the members it reads.
 */
#ifndef CFH_TRACE_TYPES_H
#define CFH_TRACE_TYPES_H

#include <linux/cachefiles.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/fscache.h>
#include <linux/fscache-cache.h>
#include <linux/netfs.h>
#include <trace/events/netfs.h>

struct cachefiles_object {
	int debug_id;
};

struct cachefiles_volume {
	struct fscache_volume *vcookie;
};

/* As stored in the content byte of the coherency xattr. */
enum cachefiles_content {
	CACHEFILES_CONTENT_NO_DATA	= 0,
	CACHEFILES_CONTENT_SINGLE	= 1,
	CACHEFILES_CONTENT_ALL		= 2,
	CACHEFILES_CONTENT_BACKFS_MAP	= 3,
	CACHEFILES_CONTENT_DIRTY	= 4,
	nr__cachefiles_content
};

#endif
