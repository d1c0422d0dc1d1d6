// SPDX-License-Identifier: GPL-2.0

//! The slots of a locked table: lookup, removal, marks and searches.
//!
//! C header: `include/linux/xarray.h`

use super::Node;
use cachefiles_bindings as bindings;
use core::marker::PhantomData;
use kernel::sync::{Arc, ArcBorrow};
use kernel::types::Opaque;

/// `XA_PRESENT`: the filter of a search that any entry passes.
pub(super) const XA_PRESENT: bindings::xa_mark_t = 8;

/// A mark that a node can have while it is in a table. (The first of the xarray's three says which
/// slots are free.)
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

    #[inline]
    fn load(&self, id: u32) -> *const Node<S, L> {
        // SAFETY: Initialised, and locked, so that the entry stays.
        unsafe { bindings::xa_load(self.xa.get(), id as usize) }
            .cast::<Node<S, L>>()
            .cast_const()
    }

    /// The node under a number.
    #[inline]
    pub fn get(&self, id: u32) -> Option<ArcBorrow<'_, Node<S, L>>> {
        let entry = self.load(id);
        // SAFETY: By the table's invariant, an entry is an `Arc` turned into a raw pointer. Nothing
        // can remove it while `self` is borrowed. No mutable reference to a whole node is ever made.
        (!entry.is_null()).then(|| unsafe { ArcBorrow::from_raw(entry) })
    }

    /// Both parts of the node under a number.
    #[inline]
    pub fn get_mut(&mut self, id: u32) -> Option<(&S, &mut L)> {
        let entry = self.load(id);
        if entry.is_null() {
            return None;
        }
        // SAFETY: As in `get`.
        let node = unsafe { &*entry };
        // SAFETY: The node is in the table whose lock is held, by the invariants, and `&mut self`
        // makes this the only borrow of it.
        Some((&node.shared, unsafe { &mut *node.locked.get() }))
    }

    /// The node under a number, and its part that the lock protects.
    #[inline]
    pub fn get_with(&mut self, id: u32) -> Option<(ArcBorrow<'_, Node<S, L>>, &mut L)> {
        let entry = self.load(id);
        if entry.is_null() {
            return None;
        }
        // SAFETY: As in `get`.
        let node = unsafe { ArcBorrow::from_raw(entry) };
        // SAFETY: As in `get_mut`. The node itself is only borrowed for reading, and its locked
        // part is in a cell that nobody reaches through that borrow.
        let locked = unsafe { &mut *(*entry).locked.get() };
        Some((node, locked))
    }

    /// Takes the node under a number out, with its marks. Drop it after the lock is released.
    #[inline]
    pub fn remove(&mut self, id: u32) -> Option<Arc<Node<S, L>>> {
        // SAFETY: Initialised and locked.
        let entry = unsafe { bindings::__xa_erase(self.xa.get(), id as usize) };
        let entry = entry.cast::<Node<S, L>>().cast_const();
        // SAFETY: By the table's invariant; the entry is gone, so the reference is ours.
        (!entry.is_null()).then(|| unsafe { Arc::from_raw(entry) })
    }

    /// Sets a mark on the node under a number, if there is one.
    #[inline]
    pub fn set_mark(&mut self, id: u32, mark: Mark) {
        // SAFETY: Initialised and locked.
        unsafe { bindings::__xa_set_mark(self.xa.get(), id as usize, mark.as_raw()) };
    }

    /// Takes a mark off the node under a number, if there is one.
    #[inline]
    pub fn clear_mark(&mut self, id: u32, mark: Mark) {
        // SAFETY: Initialised and locked.
        unsafe { bindings::__xa_clear_mark(self.xa.get(), id as usize, mark.as_raw()) };
    }

    /// The first number from `from` on under which there is a node.
    #[inline]
    pub fn find(&self, from: u32) -> Option<u32> {
        self.search(from, XA_PRESENT)
    }

    /// The first number from `from` on under which there is a node with the mark.
    #[inline]
    pub fn find_marked(&self, from: u32, mark: Mark) -> Option<u32> {
        self.search(from, mark.as_raw())
    }

    #[inline]
    fn search(&self, from: u32, filter: bindings::xa_mark_t) -> Option<u32> {
        let mut index = from as usize;
        // SAFETY: Initialised and locked.
        let entry =
            unsafe { bindings::xa_find(self.xa.get(), &mut index, u32::MAX as usize, filter) };
        if entry.is_null() {
            return None;
        }
        // Not above the bound of the search, which is a `u32`.
        u32::try_from(index).ok()
    }
}
