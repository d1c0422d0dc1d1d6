// SPDX-License-Identifier: GPL-2.0

//! Walks through an xarray (`struct xa_state`): here only the index counts.

use crate::array::{__xa_clear_mark, __xa_set_mark};
use crate::array::{assert_locked, with, xa_mark_t, xarray, XA_PRESENT};
use core::ffi::{c_int, c_void};

/// `struct xa_node`, of which there are none.
#[repr(C)]
pub struct xa_node {
    _none: u8,
}

/// `struct list_lru`, of which there are none.
#[repr(C)]
pub struct list_lru {
    _none: u8,
}

/// `struct xa_state`
#[repr(C)]
pub struct xa_state {
    pub xa: *mut xarray,
    pub xa_index: usize,
    pub xa_shift: u8,
    pub xa_sibs: u8,
    pub xa_offset: u8,
    pub xa_pad: u8,
    /// Null once the walk has begun.
    pub xa_node: *mut xa_node,
    pub xa_alloc: *mut xa_node,
    pub xa_update: Option<unsafe extern "C" fn(*mut xa_node)>,
    pub xa_lru: *mut list_lru,
}

/// The first entry with the mark that is not behind the walk, up to `max`; the walk stands there.
///
/// # Safety
///
/// `xas` is a walk through an initialised xarray.
unsafe fn advance(xas: *mut xa_state, max: usize, mark: xa_mark_t) -> *mut c_void {
    // SAFETY: The caller's promise.
    let xas = unsafe { &mut *xas };
    // SAFETY: The walk is through an initialised xarray, as the caller says.
    unsafe { assert_locked(xas.xa) };
    let from = xas.xa_index + usize::from(xas.xa_node.is_null());
    xas.xa_node = core::ptr::null_mut();
    // SAFETY: The walk is through an initialised xarray, as the caller says, whose lock is held.
    let found = unsafe { with(xas.xa, |array| array.find(from, max, mark)) };
    let Some((at, entry)) = found else {
        return core::ptr::null_mut();
    };
    xas.xa_index = at;
    entry
}

pub unsafe fn xas_load(xas: *mut xa_state) -> *mut c_void {
    // SAFETY: A walk, as the caller says, which goes no further than where it is to begin.
    unsafe {
        assert!(!(*xas).xa_node.is_null(), "the walk has begun");
        let index = (*xas).xa_index;
        advance(xas, index, XA_PRESENT)
    }
}

pub unsafe fn xas_find_marked(xas: *mut xa_state, max: usize, mark: xa_mark_t) -> *mut c_void {
    // SAFETY: A walk, as the caller says.
    unsafe { advance(xas, max, mark) }
}

pub unsafe fn cfh_xas_next_entry(xas: *mut xa_state, max: usize) -> *mut c_void {
    // SAFETY: A walk, as the caller says.
    unsafe { advance(xas, max, XA_PRESENT) }
}

pub unsafe fn xas_set_mark(xas: *const xa_state, mark: xa_mark_t) {
    // SAFETY: A walk, as the caller says.
    unsafe { __xa_set_mark((*xas).xa, (*xas).xa_index, mark) };
}

pub unsafe fn xas_clear_mark(xas: *const xa_state, mark: xa_mark_t) {
    // SAFETY: A walk, as the caller says.
    unsafe { __xa_clear_mark((*xas).xa, (*xas).xa_index, mark) };
}

pub unsafe fn __xa_insert(
    xa: *mut xarray,
    index: usize,
    entry: *mut c_void,
    _gfp: crate::gfp_t,
) -> c_int {
    // SAFETY: Initialised, as the caller says.
    unsafe {
        assert_locked(xa);
        if crate::alloc_fails() {
            return -crate::ENOMEM;
        }
        let free = with(xa, |array| array.insert(index, entry));
        if free {
            0
        } else {
            -crate::EBUSY
        }
    }
}
