// SPDX-License-Identifier: GPL-2.0

//! Numbers of the kernel's headers.

pub type gfp_t = u32;
pub const GFP_KERNEL: gfp_t = 1;
pub const GFP_KERNEL_ACCOUNT: gfp_t = 2;
pub const GFP_ATOMIC: gfp_t = 3;
pub const GFP_NOWAIT: gfp_t = 4;

pub const TASK_NORMAL: u32 = 3;

pub const EPOLLIN: u32 = 1;
pub const EPOLLOUT: u32 = 4;
pub const EPOLLERR: u32 = 8;

pub const MAX_ERRNO: u32 = 4095;
pub const ENAMETOOLONG: u32 = 36;
pub const ENODATA: u32 = 61;
pub const EBADFD: u32 = 77;
pub const EMSGSIZE: u32 = 90;
pub const EOPNOTSUPP: u32 = 95;
pub const ENOBUFS: u32 = 105;
pub const ETIMEDOUT: u32 = 110;
pub const EALREADY: u32 = 114;
pub const ESTALE: u32 = 116;

pub(crate) const EBUSY: i32 = 16;
pub(crate) const ENOMEM: i32 = 12;
pub(crate) const ERESTARTSYS: i32 = 512;
