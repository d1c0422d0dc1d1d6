// SPDX-License-Identifier: GPL-2.0

//! Insertion of a node, and access to it before it is published by releasing the lock.

use super::{Guard, Guarded, LockedXArray, Node};
use crate::{errno, gfp::Gfp};
use cachefiles_bindings as bindings;
use kernel::prelude::*;
use kernel::sync::{Arc, UniqueArc};

/// A node that was just inserted into a table whose lock has been held since.
///
/// # Invariants
///
/// `node` is in the table of `guard`, under the number `id`, and nothing is borrowed from `guard`
/// but through this.
pub struct Inserted<'g, 'a, S, L, D> {
    guard: &'g mut Guard<'a, S, L, D>,
    id: u32,
    node: Arc<Node<S, L>>,
}

/// The result of an insertion: the inserted node, or the error and the node, which is to be dropped
/// after the lock is released.
pub type Insertion<'g, 'a, S, L, D> =
    core::result::Result<Inserted<'g, 'a, S, L, D>, (Error, Arc<Node<S, L>>)>;

impl<S, L, D> Inserted<'_, '_, S, L, D> {
    /// Returns the id that was allocated.
    #[inline]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Returns the part of the node that the lock protects, the data of the table, and a value kept
    /// elsewhere. Error: EINVAL, that value belongs to another table.
    #[inline]
    pub fn with<'s, T>(
        &'s mut self,
        cell: &'s Guarded<T>,
    ) -> Result<(&'s mut L, &'s mut D, &'s mut T)> {
        let (_, data, value) = self.guard.with(cell)?;
        // SAFETY: The node is in the table whose lock is held, by the type invariant. While `self`
        // is borrowed, nobody gets to it through the slots.
        Ok((unsafe { &mut *self.node.locked.get() }, data, value))
    }

    /// Returns the id, and the node for the caller to keep.
    #[inline]
    pub fn into_parts(self) -> (u32, Arc<Node<S, L>>) {
        (self.id, self.node)
    }
}

impl<'a, S, L, D> Guard<'a, S, L, D> {
    /// Stores a node under the next free id, cyclically (`__xa_alloc_cyclic()`).
    ///
    /// Where `gfp` allows it, this may release the lock, sleep, and take the lock again, before the
    /// node is stored: state that the caller read under the lock may have changed.
    ///
    /// Errors: ENOMEM; EBUSY, no id is free.
    #[inline(always)]
    pub fn insert_cyclic(
        &mut self,
        node: Pin<UniqueArc<Node<S, L>>>,
        gfp: Gfp,
    ) -> Insertion<'_, 'a, S, L, D> {
        let node = Arc::from(node);
        let entry = Arc::into_raw(node.clone());
        let mut id = 0;
        // SAFETY: The lock is held, by the type invariant, which makes `next` ours. The entry is
        // aligned to more than the two bits that the xarray needs.
        let ret = unsafe {
            bindings::__xa_alloc_cyclic(
                self.table.xa.get(),
                &mut id,
                entry.cast_mut().cast(),
                LockedXArray::<S, L, D>::LIMIT,
                self.table.next.get(),
                gfp.as_raw(),
            )
        };
        match errno::check(ret) {
            // INVARIANT: The entry is a reference turned into a raw pointer, now the table's.
            Ok(()) => Ok(Inserted {
                guard: self,
                id,
                node,
            }),
            Err(error) => {
                // SAFETY: The table did not take it.
                drop(unsafe { Arc::from_raw(entry) });
                Err((error, node))
            }
        }
    }
}
