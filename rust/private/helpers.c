// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's own C helpers for Rust, which a kernel without CONFIG_RUST does
 * not have: those that a module may need. They are taken from the kernel's
 * source, see Makefile.private.
 *
 * Left out are those of subsystems that the kernel exports nothing for then
 * (vmalloc), or that this module has nothing to do with (blk, kunit). A module
 * that calls one of them does not link.
 */

#include "bug.c"
#include "build_assert.c"
#include "build_bug.c"
#include "err.c"
#include "mutex.c"
#include "page.c"
#include "rbtree.c"
#include "refcount.c"
#include "signal.c"
#include "slab.c"
#include "spinlock.c"
#include "task.c"
#include "uaccess.c"
#include "wait.c"
#include "workqueue.c"
