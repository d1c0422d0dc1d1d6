// SPDX-License-Identifier: GPL-2.0

//! Bindings that the kernel's own crate lacks, on top of all that it has.
//!
//! The generated file holds only what the allow-list in `bindgen_parameters` names, and the C
//! helpers of `rust/helpers`. Everything else comes from [`kernel::bindings`], so a type that both
//! crates name (`struct file`, `struct inode`, ...) is one type.
//!
//! Only the support crates under `rust/` use this crate; the driver never does.

#![allow(
    clippy::all,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    improper_ctypes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]

#[allow(
    dead_code,
    unknown_lints,
    unnecessary_transmutes,
    clippy::as_underscore,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks
)]
mod generated {
    // What is generated below takes precedence over what this glob brings.
    pub use kernel::bindings::*;
    use kernel::ffi;

    // bindgen is told not to define these (`--blocklist-type` in the kernel's parameters).
    type __kernel_size_t = usize;
    type __kernel_ssize_t = isize;
    type __kernel_ptrdiff_t = isize;

    include!("bindings_generated.rs");
}

pub use generated::*;
