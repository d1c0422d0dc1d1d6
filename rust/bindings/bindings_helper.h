/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The headers that bindgen reads. It reads the C helpers themselves, so that there
 * is no second list of their prototypes to maintain.
 *
 * A name is generated only if bindgen_parameters allows it.
 */

/* kernel_ext: misc device, files, polling, wait queues */
#include <linux/anon_inodes.h>
#include <linux/fcntl.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/xarray.h>
#include <uapi/linux/eventpoll.h>

/* begin: fs, cred, io, fscache */
#include <linux/dcache.h>
#include <linux/fscache-cache.h>
#include <linux/namei.h>
#include <linux/netfs.h>
#include <linux/statfs.h>
#include <linux/xattr.h>
/* end: fs, cred, io, fscache */

#include "../helpers/helpers.c"
#include "../helpers/params.h"
#include "../helpers/trace.h"
#include "../helpers/trace_types.h"
#include <trace/events/cachefiles.h>
