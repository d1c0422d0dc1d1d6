// SPDX-License-Identifier: GPL-2.0

//! Cursors: access to a slot that was found, without another walk through the tree.
//!
//! C header: `include/linux/xarray.h` (`struct xa_state`)

use super::slots::Mark;
use super::Node;
use cachefiles_bindings as bindings;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ptr::{null_mut, NonNull};
use kernel::sync::ArcBorrow;
use kernel::types::Opaque;

/// The state of a walk that is yet to begin (`XAS_RESTART`).
const RESTART: usize = 3;

/// A walk through the tree (`struct xa_state`).
///
/// # Invariants
///
/// `xas.xa` is initialised. During `'s` its lock is held and its tree does not change.
pub(super) struct Walk<'s> {
    xas: bindings::xa_state,
    _tree: PhantomData<&'s Opaque<bindings::xarray>>,
}

impl<'s> Walk<'s> {
    /// Creates a walk that begins at `index`.
    ///
    /// # Safety
    ///
    /// `xa` is initialised. During `'s` its lock is held, and nothing is stored in it or erased.
    #[inline]
    pub(super) unsafe fn new(xa: &'s Opaque<bindings::xarray>, index: u32) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            xas: bindings::xa_state {
                xa: xa.get(),
                xa_index: index as usize,
                xa_shift: 0,
                xa_sibs: 0,
                xa_offset: 0,
                xa_pad: 0,
                xa_node: RESTART as *mut bindings::xa_node,
                xa_alloc: null_mut(),
                xa_update: None,
                xa_lru: null_mut(),
            },
            _tree: PhantomData,
        }
    }

    /// Loads the entry at the index.
    #[inline]
    pub(super) fn load<N>(&mut self) -> Option<NonNull<N>> {
        // SAFETY: By the type invariant.
        NonNull::new(unsafe { bindings::xas_load(&mut self.xas) }.cast())
    }

    /// Finds the first entry with the mark, from the index on.
    #[inline]
    pub(super) fn find_marked<N>(&mut self, mark: Mark) -> Option<NonNull<N>> {
        // SAFETY: By the type invariant.
        NonNull::new(
            unsafe { bindings::xas_find_marked(&mut self.xas, u32::MAX as usize, mark.as_raw()) }
                .cast(),
        )
    }

    /// Moves to the next entry; at first to the first one from the index on.
    #[inline]
    pub(super) fn next<N>(&mut self) -> Option<NonNull<N>> {
        // SAFETY: By the type invariant. Every step but the first is after an entry, and none is
        // made after the last one.
        NonNull::new(
            unsafe { bindings::cfh_xas_next_entry(&mut self.xas, u32::MAX as usize) }.cast(),
        )
    }
}

/// A cursor at a slot with a node in it.
///
/// # Invariants
///
/// `walk` stands at `node`, which is in the table during `'s`. This is the only access to the
/// locked part of the node.
pub struct Cursor<'s, S, L> {
    walk: Walk<'s>,
    node: NonNull<Node<S, L>>,
    _node: PhantomData<(&'s Node<S, L>, &'s mut UnsafeCell<L>)>,
}

impl<'s, S, L> Cursor<'s, S, L> {
    /// # Safety
    ///
    /// `walk` stands at `node`, and its table is one of `Node<S, L>`. During `'s` nobody else
    /// comes to the locked part of the node.
    #[inline]
    pub(super) unsafe fn new(walk: Walk<'s>, node: NonNull<Node<S, L>>) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            walk,
            node,
            _node: PhantomData,
        }
    }

    /// Moves to the next node. False if there is none: the cursor stays at the last one, and cannot
    /// be moved any more.
    #[inline]
    pub(super) fn advance(&mut self) -> bool {
        match self.walk.next() {
            Some(node) => {
                // INVARIANT: The walk stands there now.
                self.node = node;
                true
            }
            None => false,
        }
    }

    /// Returns the id of the slot.
    #[inline]
    pub fn id(&self) -> u32 {
        // The bound of every search.
        self.walk.xas.xa_index as u32
    }

    /// Returns the node.
    #[inline]
    pub fn node(&self) -> ArcBorrow<'s, Node<S, L>> {
        // SAFETY: By the table's invariant an entry is an `Arc` turned into a raw pointer, and by
        // the type invariant it stays during `'s`. No mutable reference to a whole node is made.
        unsafe { ArcBorrow::from_raw(self.node.as_ptr()) }
    }

    /// Returns the part of the node that needs no lock.
    #[inline]
    pub fn shared(&self) -> &'s S {
        // SAFETY: The node stays during `'s`, by the type invariant.
        &unsafe { &*self.node.as_ptr() }.shared
    }

    /// Returns the part of the node that the lock protects.
    #[inline]
    pub fn locked(&mut self) -> &mut L {
        // SAFETY: The node stays, and this is the only access to that part, by the type invariant.
        unsafe { &mut *(*self.node.as_ptr()).locked.get() }
    }

    /// Sets a mark.
    #[inline]
    pub fn set_mark(&mut self, mark: Mark) {
        // SAFETY: By the invariants, the walk stands at an entry of a locked tree.
        unsafe { bindings::xas_set_mark(&self.walk.xas, mark.as_raw()) };
    }

    /// Clears a mark.
    #[inline]
    pub fn clear_mark(&mut self, mark: Mark) {
        // SAFETY: By the invariants, the walk stands at an entry of a locked tree.
        unsafe { bindings::xas_clear_mark(&self.walk.xas, mark.as_raw()) };
    }
}
