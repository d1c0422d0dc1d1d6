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

/*
 * Where C copies inline, as on arm64, the kernel has these functions for Rust
 * alone.
 */
#ifdef INLINE_COPY_FROM_USER
unsigned long _copy_from_user(void *to, const void __user *from, unsigned long n)
{
	return _inline_copy_from_user(to, from, n);
}
#endif

#ifdef INLINE_COPY_TO_USER
unsigned long _copy_to_user(void __user *to, const void *from, unsigned long n)
{
	return _inline_copy_to_user(to, from, n);
}
#endif
