// SPDX-License-Identifier: GPL-2.0

//! An xarray with marks, and the data that its lock protects.
//!
//! C header: `include/linux/xarray.h`
//!
//! A [`LockedXArray`] stores [`Node`]s under ids that it allocates cyclically. Its lock protects
//! the slots and three kinds of data besides: a value of the table as a whole (`D`), a part of each
//! stored node (`L`), and values that are kept elsewhere ([`Guarded`]). So several of them can be
//! changed in one step, and the borrow checker ensures that none is accessed without the lock.
//!
//! The lock is a plain spinlock: process context only, and nothing may sleep or run a foreign
//! destructor while it is held. So removed nodes are handed back, to be dropped later.
//!
//! # Examples
//!
//! A table of requests, of which those that nobody has taken have a mark:
//!
//! ```
//! use core::convert::Infallible;
//! use kernel::prelude::*;
//! use kernel::sync::UniqueArc;
//! use kernel_ext::gfp::Gfp;
//! use kernel_ext::new_locked_xarray;
//! use kernel_ext::xarray::{LockedXArray, Mark, Node};
//!
//! const NEW: Mark = Mark::One;
//!
//! struct Request {
//!     bytes: usize,
//! }
//!
//! // Behind the lock: how often a request was taken, and how many requests there were.
//! type Table = LockedXArray<Request, u32, usize>;
//!
//! let table: Pin<KBox<Table>> =
//!     KBox::pin_init(new_locked_xarray!(0, "requests"), GFP_KERNEL)?;
//!
//! // An id is allocated cyclically: the next one is not that of a request that just ended.
//! let node = UniqueArc::pin_init(
//!     Node::new::<Infallible>(Request { bytes: 4096 }, 0),
//!     GFP_KERNEL,
//! )?;
//! let mut locked = table.lock();
//! let id = locked
//!     .insert_cyclic(node, Gfp::Atomic)
//!     .map_err(|(error, _)| error)?
//!     .id();
//! let (mut slots, count) = locked.slots();
//! *count += 1;
//! slots.set_mark(id, NEW);
//! drop(locked);
//!
//! // Take the oldest new one. The cursor changes the slot without another walk.
//! assert!(table.has_mark(NEW));
//! let mut locked = table.lock();
//! let (mut slots, _) = locked.slots();
//! if let Some(mut cursor) = slots.at_marked_cyclic(0, NEW) {
//!     *cursor.locked() += 1;
//!     cursor.clear_mark(NEW);
//!     assert_eq!(cursor.id(), id);
//!     assert_eq!(cursor.shared().bytes, 4096);
//! }
//! let removed = slots.remove(id);
//! drop(locked);
//! assert!(removed.is_some());
//! assert!(!table.has_mark(NEW));
//! ```

mod cursor;
mod guarded;
mod insertion;
mod registry;
mod slots;

pub use crate::new_locked_xarray;
pub use cursor::Cursor;
pub use guarded::{Guarded, GuardedAccess};
pub use insertion::{Inserted, Insertion};
pub use registry::{Registry, RegistryGuard};
pub use slots::{Mark, Slots};

use cachefiles_bindings as bindings;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::{Arc, LockClassKey};
use kernel::types::Opaque;

/// The filter of a search that any entry passes (`XA_PRESENT`).
const XA_PRESENT: bindings::xa_mark_t = 8;

/// An entry of a table: a part that all holders of the node share, and a part that is only accessed
/// with the lock of the table held.
///
/// A node is in at most one table, once, as it must be unique to be inserted.
///
/// # Invariants
///
/// While the node is in a table, `locked` is only accessed with the lock of that table held; while
/// it is in none, only through a unique reference.
#[pin_data]
// An xarray keeps the two low bits of what it stores for itself.
#[repr(align(8))]
pub struct Node<S, L> {
    #[pin]
    shared: S,
    locked: UnsafeCell<L>,
}

// SAFETY: Shared access to a node gives shared access to `shared`; and `locked`, by the type
// invariant, to one thread at a time.
unsafe impl<S: Sync, L: Send> Sync for Node<S, L> {}

impl<S, L> Node<S, L> {
    /// Creates a node that is in no table.
    pub fn new<E>(shared: impl PinInit<S, E>, locked: L) -> impl PinInit<Self, E> {
        try_pin_init!(Self {
            shared <- shared,
            locked: UnsafeCell::new(locked),
        }? E)
    }

    /// Returns the part that needs no lock.
    #[inline]
    pub fn shared(&self) -> &S {
        &self.shared
    }

    /// Returns the locked part of a node that is not shared.
    #[inline]
    pub fn locked_mut(unique: Pin<&mut Self>) -> &mut L {
        // SAFETY: `locked` is not structurally pinned, and nothing else is moved.
        unsafe { unique.get_unchecked_mut() }.locked.get_mut()
    }
}

/// A table of nodes, and its lock.
///
/// # Invariants
///
/// - `xa` is an initialised xarray that tracks free slots. Each entry is an `Arc<Node<S, L>>`
///   turned into a raw pointer, whose reference is the table's.
/// - `next` and `data` are only touched with the lock held.
#[pin_data(PinnedDrop)]
pub struct LockedXArray<S, L, D> {
    #[pin]
    xa: Opaque<bindings::xarray>,
    /// The id at which the search for a free one begins.
    next: UnsafeCell<u32>,
    data: UnsafeCell<D>,
    _nodes: PhantomData<Arc<Node<S, L>>>,
}

// SAFETY: The table owns nodes, which other threads share, and `D`.
unsafe impl<S: Send + Sync, L: Send, D: Send> Send for LockedXArray<S, L, D> {}
// SAFETY: Everything but `S` is only reached with the lock held, by one thread at a time.
unsafe impl<S: Send + Sync, L: Send, D: Send> Sync for LockedXArray<S, L, D> {}

/// Creates a [`LockedXArray`] with a lock class of its own.
#[macro_export]
macro_rules! new_locked_xarray {
    ($data:expr, $name:literal) => {
        $crate::xarray::LockedXArray::new(
            $data,
            ::kernel::c_str!($name),
            ::kernel::static_lock_class!(),
        )
    };
}

impl<S, L, D> LockedXArray<S, L, D> {
    /// All ids but the last, which callers may use for "none".
    const LIMIT: bindings::xa_limit = bindings::xa_limit {
        min: 0,
        max: u32::MAX - 1,
    };

    /// Creates an empty table.
    pub fn new(data: D, name: &'static CStr, key: &'static LockClassKey) -> impl PinInit<Self> {
        Self::beginning_at(0, data, name, key)
    }

    /// Creates an empty table that hands out `first` first, as if all ids below had been used.
    pub fn beginning_at(
        first: u32,
        data: D,
        name: &'static CStr,
        key: &'static LockClassKey,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised by the C function, and empty.
            // SAFETY: `slot` is valid for writes and pinned from here on. Name and class are
            // static, and a `LockClassKey` is a transparent wrapper.
            xa <- Opaque::ffi_init(move |slot| unsafe {
                bindings::cfh_xa_init_alloc(
                    slot,
                    name.as_char_ptr(),
                    core::ptr::from_ref(key).cast_mut().cast(),
                )
            }),
            next: UnsafeCell::new(first),
            data: UnsafeCell::new(data),
            _nodes: PhantomData,
        })
    }

    /// Takes the lock (`xa_lock()`). Spins.
    #[inline]
    pub fn lock(&self) -> Guard<'_, S, L, D> {
        // SAFETY: Initialised, by the type invariant.
        unsafe { bindings::cfh_xa_lock(self.xa.get()) };
        // INVARIANT: Just locked.
        Guard {
            table: self,
            _not_send: PhantomData,
        }
    }

    /// Returns whether any node has the mark. Needs no lock; the answer may be stale at once.
    #[inline]
    pub fn has_mark(&self, mark: Mark) -> bool {
        // SAFETY: Initialised, by the type invariant; reads its flags, which a writer
        // changes in one access.
        unsafe { bindings::cfh_xa_marked(self.xa.get(), mark.as_raw()) }
    }

    /// Returns the address of the table, which tells it from all others that exist.
    #[inline]
    fn identity(&self) -> NonNull<()> {
        NonNull::from(self).cast()
    }
}

#[pinned_drop]
impl<S, L, D> PinnedDrop for LockedXArray<S, L, D> {
    fn drop(self: Pin<&mut Self>) {
        let xa = self.xa.get();
        let mut index = 0;
        loop {
            // SAFETY: Initialised, by the type invariant. No lock is needed: nobody else has it.
            let entry = unsafe { bindings::xa_find(xa, &mut index, usize::MAX, XA_PRESENT) };
            if entry.is_null() {
                break;
            }
            // SAFETY: Initialised, and nobody else has it. The index is that of the entry found.
            unsafe { bindings::xa_erase(xa, index) };
            // SAFETY: By the type invariant; the entry is gone, so the reference is ours.
            drop(unsafe { Arc::from_raw(entry.cast::<Node<S, L>>().cast_const()) });
        }
        // SAFETY: Initialised, and nobody else has it; what was in it is gone.
        unsafe { bindings::xa_destroy(xa) };
    }
}

/// A guard that holds the lock of a table.
///
/// # Invariants
///
/// The running task holds the lock of `table`, and this is the only guard of it.
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard<'a, S, L, D> {
    table: &'a LockedXArray<S, L, D>,
    // A spinlock is released on the CPU that took it.
    _not_send: PhantomData<*mut ()>,
}

impl<S, L, D> Guard<'_, S, L, D> {
    /// Returns the data of the table as a whole.
    #[inline]
    pub fn data(&mut self) -> &mut D {
        // SAFETY: The lock is held, by the type invariant, and `&mut self` makes this the only
        // borrow made of this guard.
        unsafe { &mut *self.table.data.get() }
    }

    /// Returns the slots and the data of the table.
    #[inline]
    pub fn slots(&mut self) -> (Slots<'_, S, L>, &mut D) {
        // SAFETY: The lock is held for as long as the guard is borrowed, and as `self` is borrowed
        // mutably, this is the only `Slots` there is.
        let slots = unsafe { Slots::new(&self.table.xa) };
        // SAFETY: The lock is held, by the type invariant, and `&mut self` makes this the only
        // borrow of the data. The slots are apart from it.
        (slots, unsafe { &mut *self.table.data.get() })
    }

    /// Returns the slots and the data of the table, and a value kept elsewhere that this lock
    /// protects.
    ///
    /// Error: EINVAL, the value belongs to another table.
    #[inline]
    pub fn with<'g, T>(
        &'g mut self,
        cell: &'g Guarded<T>,
    ) -> Result<(Slots<'g, S, L>, &'g mut D, &'g mut T)> {
        let owner = self.table.identity();
        let (slots, data) = self.slots();
        // SAFETY: The lock of the table at `owner` is held while `self` is borrowed, and as that is
        // a mutable borrow, no other value of `Guarded::get` is alive.
        let value = unsafe { cell.get(owner)? };
        Ok((slots, data, value))
    }

    /// Returns the slots and the data of the table, and access to the values kept elsewhere.
    #[inline]
    pub fn parts(&mut self) -> (Slots<'_, S, L>, &mut D, GuardedAccess<'_>) {
        // SAFETY: The lock is held while `self` is borrowed, and as that is a mutable borrow, no
        // value of `Guarded::get` is alive but those that this is asked for.
        let access = unsafe { GuardedAccess::new(self.table.identity()) };
        let (slots, data) = self.slots();
        (slots, data, access)
    }

    /// Calls `f` for at most `limit` nodes from the id `from` on. Returns the id to continue from,
    /// or `None` at the end.
    pub fn for_each(
        &mut self,
        from: u32,
        limit: usize,
        mut f: impl FnMut(&mut Cursor<'_, S, L>, &mut GuardedAccess<'_>),
    ) -> Option<u32> {
        let (mut slots, _, mut access) = self.parts();
        let mut cursor = slots.at_or_behind(from)?;
        for _ in 0..limit {
            f(&mut cursor, &mut access);
            if !cursor.advance() {
                return None;
            }
        }
        Some(cursor.id())
    }
}

impl<S, L, D> Drop for Guard<'_, S, L, D> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: Locked, by the type invariant.
        unsafe { bindings::cfh_xa_unlock(self.table.xa.get()) };
    }
}
