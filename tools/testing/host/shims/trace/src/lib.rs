// SPDX-License-Identifier: GPL-2.0

//! Tracepoints that nobody listens to.

/// Why a reference was taken or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefWhy {
    /// An anonymous fd holds the object.
    GetOndemandFd,
    /// It does not any more.
    PutOndemandFd,
}

/// `cachefiles_ondemand_open`
pub fn ondemand_open(_obj: u32, _msg_id: u32, _object_id: u32, _fd: u32, _flags: u32) {}
/// `cachefiles_ondemand_copen`
pub fn ondemand_copen(_obj: u32, _msg_id: u32, _len: i64) {}
/// `cachefiles_ondemand_close`
pub fn ondemand_close(_obj: u32, _msg_id: u32, _object_id: u32) {}
/// `cachefiles_ondemand_read`
pub fn ondemand_read(_obj: u32, _msg_id: u32, _object_id: u32, _off: u64, _len: u64) {}
/// `cachefiles_ondemand_cread`
pub fn ondemand_cread(_obj: u32, _msg_id: u32) {}
/// `cachefiles_ondemand_fd_release`
pub fn ondemand_fd_release(_obj: u32, _object_id: i32) {}
