// SPDX-License-Identifier: GPL-2.0

//! The slots of a locked table: lookup, removal, marks and searches.
//!
//! C header: `include/linux/xarray.h`

use super::cursor::{Cursor, Walk};
use super::Node;
use cachefiles_bindings as bindings;
use core::marker::PhantomData;
use kernel::sync::Arc;
use kernel::types::Opaque;

/// A mark that a node can have while it is in a table. (The first of the three marks of an xarray
/// tracks free slots.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `XA_MARK_1`
    One,
    /// `XA_MARK_2`
    Two,
}

impl Mark {
    #[inline]
    pub(super) const fn as_raw(self) -> bindings::xa_mark_t {
        match self {
            Mark::One => 1,
            Mark::Two => 2,
        }
    }
}

/// The slots of a table whose lock is held.
///
/// # Invariants
///
/// During `'g`, the table's lock is held, and this is the only access to its slots.
pub struct Slots<'g, S, L> {
    xa: &'g Opaque<bindings::xarray>,
    // `&mut`, as a `Slots` hands out `&mut` of what is in the nodes. Raw, so that it stays with
    // the task that holds the lock.
    _nodes: PhantomData<(&'g mut Node<S, L>, *mut ())>,
}

impl<'g, S, L> Slots<'g, S, L> {
    /// # Safety
    ///
    /// `xa` is that of a `LockedXArray<S, L, _>`. During `'g` its lock is held, and no other
    /// `Slots` of it exists.
    #[inline]
    pub(super) unsafe fn new(xa: &'g Opaque<bindings::xarray>) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            xa,
            _nodes: PhantomData,
        }
    }

    /// Returns a cursor at the slot with the id, if there is a node in it.
    #[inline]
    pub fn at(&mut self, id: u32) -> Option<Cursor<'_, S, L>> {
        // SAFETY: Initialised and locked, by the type invariant; and while `self` is borrowed
        // mutably, nothing is stored or erased.
        let mut walk = unsafe { Walk::new(self.xa, id) };
        let node = walk.load()?;
        // SAFETY: The walk just came to it. What is in the table is of this type, and `&mut self`
        // makes this the only access.
        Some(unsafe { Cursor::new(walk, node) })
    }

    /// Returns a cursor at the first slot at or behind `from` whose node has the mark; if there is
    /// none, at the first of all that has it.
    #[inline]
    pub fn at_marked_cyclic(&mut self, from: u32, mark: Mark) -> Option<Cursor<'_, S, L>> {
        // SAFETY: Initialised and locked, by the type invariant; and while `self` is borrowed
        // mutably, nothing is stored or erased.
        let mut walk = unsafe { Walk::new(self.xa, from) };
        let node = match walk.find_marked(mark) {
            Some(node) => node,
            None => {
                // SAFETY: Initialised and locked, by the type invariant; and while `self` is
                // borrowed mutably, nothing is stored or erased.
                walk = unsafe { Walk::new(self.xa, 0) };
                walk.find_marked(mark)?
            }
        };
        // SAFETY: The walk just came to it. What is in the table is of this type, and `&mut self`
        // makes this the only access.
        Some(unsafe { Cursor::new(walk, node) })
    }

    /// Returns a cursor at the first slot at or behind `from` with a node in it.
    #[inline]
    pub fn at_or_behind(&mut self, from: u32) -> Option<Cursor<'_, S, L>> {
        // SAFETY: Initialised and locked, by the type invariant; and while `self` is borrowed
        // mutably, nothing is stored or erased.
        let mut walk = unsafe { Walk::new(self.xa, from) };
        let node = walk.next()?;
        // SAFETY: The walk just came to it. What is in the table is of this type, and `&mut self`
        // makes this the only access.
        Some(unsafe { Cursor::new(walk, node) })
    }

    /// Removes the node with the id, and its marks. Drop it after the lock is released.
    #[inline]
    pub fn remove(&mut self, id: u32) -> Option<Arc<Node<S, L>>> {
        // SAFETY: Initialised and locked.
        let entry = unsafe { bindings::__xa_erase(self.xa.get(), id as usize) };
        let entry = entry.cast::<Node<S, L>>().cast_const();
        // SAFETY: By the table's invariant; the entry is gone, so the reference is ours.
        (!entry.is_null()).then(|| unsafe { Arc::from_raw(entry) })
    }

    /// Sets a mark on the node with the id, if there is one.
    #[inline]
    pub fn set_mark(&mut self, id: u32, mark: Mark) {
        // SAFETY: Initialised and locked.
        unsafe { bindings::__xa_set_mark(self.xa.get(), id as usize, mark.as_raw()) };
    }
}
