// SPDX-License-Identifier: GPL-2.0

//! The declarations of `helpers.c`, on top of all others.

#![allow(
    clippy::all,
    missing_docs,
    non_camel_case_types,
    improper_ctypes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]

#[allow(dead_code, unknown_lints, clippy::undocumented_unsafe_blocks)]
mod generated {
    // What is generated below takes precedence over what this glob brings.
    pub use cachefiles_bindings::*;
    use kernel::ffi;

    include!("bindings_generated.rs");
}

pub(crate) use generated::*;
