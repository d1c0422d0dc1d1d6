// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of the kernel that Rust cannot call by name, and
 * that the kernel's own rust/helpers does not wrap. One file per subsystem.
 *
 * A helper does what its name says and nothing more. All have the prefix cfh_,
 * so that none can clash with a rust_helper_ of some other kernel.
 *
 * This file is compiled into the module, and read by bindgen.
 */

#include <linux/kconfig.h>

#if !IS_ENABLED(CONFIG_RUST) && !defined(CFH_PRIVATE_RUST)
#error "The kernel has no Rust support: build it with CONFIG_RUST=y, or see rust/private"
#endif
#if !IS_ENABLED(CONFIG_FSCACHE)
#error "The kernel has no fscache: build it with CONFIG_FSCACHE=y"
#endif

#include "debugfs.c"
#include "file.c"
#include "slab.c"
#include "sync.c"
#include "task.c"
#include "workqueue.c"
#include "xarray.c"

/* begin: fs, cred, io, fscache */
#include "cred.c"
#include "fs.c"
#include "fscache.c"
#include "ops.c"
/* end: fs, cred, io, fscache */
