// SPDX-License-Identifier: GPL-2.0

//! The tracepoints of cachefiles, all 25.
//!
//! C header: `include/trace/events/cachefiles.h`
//!
//! The events themselves are made by `rust/helpers/trace.c` from the kernel's header, so that their
//! names, fields and texts are the kernel's. Each has a safe function here. An object is identified
//! by its debug id; `None` stands for no object (the header shows 0 for it, and for `unlink` and
//! `rename` the largest number). All functions may be called in any context. They do nothing while
//! their event is not enabled.

#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]
#![deny(clippy::undocumented_unsafe_blocks)]

mod reasons;

pub use reasons::{Coherency, ErrorSite, Killed, PrepRead, RefWhy, Trunc};

use cachefiles_bindings as bindings;
use kernel::error::Error;
use kernel_ext::fs::{Dentry, Inode};

/// Splits an optional debug id as the C functions take it.
#[inline]
const fn optional(obj: Option<u32>) -> (bool, u32) {
    match obj {
        Some(id) => (true, id),
        None => (false, 0),
    }
}

/// Converts an inode number to the type of the C functions; 0 where it does not fit.
#[inline]
fn ino(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// Emits `cachefiles_ref`: the reference count of an object became `usage`.
#[inline]
pub fn ref_(obj: u32, cookie: u32, usage: i32, why: RefWhy) {
    // SAFETY: Takes plain values.
    unsafe { bindings::cfh_trace_ref(obj, cookie, usage, why as u32) };
}

/// Emits `cachefiles_lookup`: what a lookup in `dir` found. A negative `dir` is not traced.
#[inline]
pub fn lookup(obj: Option<u32>, dir: &Dentry, found: core::result::Result<&Dentry, Error>) {
    let (has, obj) = optional(obj);
    let found = match found {
        Ok(dentry) => dentry.as_ptr(),
        Err(error) => error.to_ptr(),
    };
    // SAFETY: The dentries are valid for the call, as they are borrowed. An error in the place of
    // the second is expected.
    unsafe { bindings::cfh_trace_lookup(has, obj, dir.as_ptr(), found) };
}

/// Emits `cachefiles_mkdir`: the directory `sub` was made in `dir`. Negative ones are not traced.
#[inline]
pub fn mkdir(dir: &Dentry, sub: &Dentry) {
    // SAFETY: The dentries are valid for the call, as they are borrowed.
    unsafe { bindings::cfh_trace_mkdir(dir.as_ptr(), sub.as_ptr()) };
}

/// Emits `cachefiles_tmpfile`: a nameless file was made.
#[inline]
pub fn tmpfile(obj: u32, backer: &Inode) {
    // SAFETY: The inode is valid for the call, as it is borrowed.
    unsafe { bindings::cfh_trace_tmpfile(obj, backer.as_ptr()) };
}

/// Emits `cachefiles_link`: a file got its name.
#[inline]
pub fn link(obj: u32, backer: &Inode) {
    // SAFETY: The inode is valid for the call, as it is borrowed.
    unsafe { bindings::cfh_trace_link(obj, backer.as_ptr()) };
}

/// Emits `cachefiles_unlink`: a file is being removed.
#[inline]
pub fn unlink(obj: Option<u32>, number: u64, why: Killed) {
    let (has, obj) = optional(obj);
    // SAFETY: Takes plain values.
    unsafe { bindings::cfh_trace_unlink(has, obj, ino(number), why as u32) };
}

/// Emits `cachefiles_rename`: a directory is being moved to the graveyard.
#[inline]
pub fn rename(obj: Option<u32>, number: u64, why: Killed) {
    let (has, obj) = optional(obj);
    // SAFETY: Takes plain values.
    unsafe { bindings::cfh_trace_rename(has, obj, ino(number), why as u32) };
}

/// Emits `cachefiles_coherency`: the coherency data of a file was checked or set.
#[inline]
pub fn coherency(obj: u32, number: u64, content: u8, why: Coherency) {
    // SAFETY: Takes plain values.
    unsafe { bindings::cfh_trace_coherency(obj, ino(number), content.into(), why as u32) };
}

/// Emits `cachefiles_vol_coherency`: the coherency data of a volume, given by its debug id, was
/// checked or set.
#[inline]
pub fn vol_coherency(volume: u32, number: u64, why: Coherency) {
    // SAFETY: Takes plain values.
    unsafe { bindings::cfh_trace_vol_coherency(volume, ino(number), why as u32) };
}

/// Emits `cachefiles_prep_read`: where a read will be served from; `source` is an `enum
/// netfs_io_source`.
#[inline]
#[expect(clippy::too_many_arguments, reason = "the event has as many fields")]
pub fn prep_read(
    obj: Option<u32>,
    start: i64,
    len: usize,
    flags: u16,
    source: i32,
    why: PrepRead,
    cache_ino: u64,
    netfs_ino: u64,
) {
    let (has, obj) = optional(obj);
    let source = u32::try_from(source).unwrap_or(0);
    let (cache_ino, netfs_ino) = (ino(cache_ino), ino(netfs_ino));
    // SAFETY: Takes plain values.
    unsafe {
        bindings::cfh_trace_prep_read(
            has, obj, start, len, flags, source, why as u32, cache_ino, netfs_ino,
        )
    };
}

/// Emits `cachefiles_read`: a read of the file begins.
#[inline]
pub fn read(obj: u32, backer: &Inode, start: i64, len: usize) {
    // SAFETY: The inode is valid for the call, as it is borrowed.
    unsafe { bindings::cfh_trace_read(obj, backer.as_ptr(), start, len) };
}

/// Emits `cachefiles_write`: a write to the file begins.
#[inline]
pub fn write(obj: u32, backer: &Inode, start: i64, len: usize) {
    // SAFETY: The inode is valid for the call, as it is borrowed.
    unsafe { bindings::cfh_trace_write(obj, backer.as_ptr(), start, len) };
}

/// Emits `cachefiles_trunc`: a file is being given another size.
#[inline]
pub fn trunc(obj: u32, backer: &Inode, from: i64, to: i64, why: Trunc) {
    // SAFETY: The inode is valid for the call, as it is borrowed.
    unsafe { bindings::cfh_trace_trunc(obj, backer.as_ptr(), from, to, why as u32) };
}

/// Emits `cachefiles_mark_active`: an inode was marked as in use.
#[inline]
pub fn mark_active(obj: Option<u32>, inode: &Inode) {
    let (has, obj) = optional(obj);
    // SAFETY: The inode is valid for the call, as it is borrowed.
    unsafe { bindings::cfh_trace_mark_active(has, obj, inode.as_ptr()) };
}

/// Emits `cachefiles_mark_failed`: an inode could not be marked, as it is in use.
#[inline]
pub fn mark_failed(obj: Option<u32>, inode: &Inode) {
    let (has, obj) = optional(obj);
    // SAFETY: The inode is valid for the call, as it is borrowed.
    unsafe { bindings::cfh_trace_mark_failed(has, obj, inode.as_ptr()) };
}

/// Emits `cachefiles_mark_inactive`: the mark of an inode was cleared.
#[inline]
pub fn mark_inactive(obj: Option<u32>, inode: &Inode) {
    let (has, obj) = optional(obj);
    // SAFETY: The inode is valid for the call, as it is borrowed.
    unsafe { bindings::cfh_trace_mark_inactive(has, obj, inode.as_ptr()) };
}

/// Emits `cachefiles_vfs_error`: an operation failed.
#[inline]
pub fn vfs_error(obj: Option<u32>, backer: &Inode, error: Error, at: ErrorSite) {
    let (has, obj) = optional(obj);
    // SAFETY: The inode is valid for the call, as it is borrowed.
    unsafe {
        bindings::cfh_trace_vfs_error(has, obj, backer.as_ptr(), error.to_errno(), at as u32)
    };
}

/// Emits `cachefiles_io_error`: an operation failed in a way that harms the cache.
#[inline]
pub fn io_error(obj: Option<u32>, backer: &Inode, error: Error, at: ErrorSite) {
    let (has, obj) = optional(obj);
    // SAFETY: The inode is valid for the call, as it is borrowed.
    unsafe { bindings::cfh_trace_io_error(has, obj, backer.as_ptr(), error.to_errno(), at as u32) };
}

/// Emits `cachefiles_ondemand_open`: an OPEN goes to the daemon.
#[inline]
pub fn ondemand_open(obj: u32, msg_id: u32, object_id: u32, fd: u32, flags: u32) {
    // SAFETY: Takes plain values.
    unsafe { bindings::cfh_trace_ondemand_open(obj, msg_id, object_id, fd, flags) };
}

/// Emits `cachefiles_ondemand_copen`: the daemon answered an OPEN, with a size or a negative errno.
#[inline]
pub fn ondemand_copen(obj: u32, msg_id: u32, len: i64) {
    let len = isize::try_from(len).unwrap_or(isize::MAX);
    // SAFETY: Takes plain values.
    unsafe { bindings::cfh_trace_ondemand_copen(obj, msg_id, len) };
}

/// Emits `cachefiles_ondemand_close`: a CLOSE goes to the daemon.
#[inline]
pub fn ondemand_close(obj: u32, msg_id: u32, object_id: u32) {
    // SAFETY: Takes plain values.
    unsafe { bindings::cfh_trace_ondemand_close(obj, msg_id, object_id) };
}

/// Emits `cachefiles_ondemand_read`: a READ goes to the daemon.
#[inline]
pub fn ondemand_read(obj: u32, msg_id: u32, object_id: u32, off: u64, len: u64) {
    // SAFETY: Takes plain values.
    unsafe { bindings::cfh_trace_ondemand_read(obj, msg_id, object_id, off, len) };
}

/// Emits `cachefiles_ondemand_cread`: the daemon answered a READ.
#[inline]
pub fn ondemand_cread(obj: u32, msg_id: u32) {
    // SAFETY: Takes plain values.
    unsafe { bindings::cfh_trace_ondemand_cread(obj, msg_id) };
}

/// Emits `cachefiles_ondemand_fd_write`: the daemon writes to a file.
#[inline]
pub fn ondemand_fd_write(obj: u32, backer: &Inode, start: i64, len: usize) {
    // SAFETY: The inode is valid for the call, as it is borrowed.
    unsafe { bindings::cfh_trace_ondemand_fd_write(obj, backer.as_ptr(), start, len) };
}

/// Emits `cachefiles_ondemand_fd_release`: an anonymous fd was closed for good.
#[inline]
pub fn ondemand_fd_release(obj: u32, object_id: i32) {
    // SAFETY: Takes plain values.
    unsafe { bindings::cfh_trace_ondemand_fd_release(obj, object_id) };
}
