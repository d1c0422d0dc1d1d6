// SPDX-License-Identifier: GPL-2.0

//! A lock-free list that any number of tasks push to, and that is drained as a whole.
//!
//! A push neither allocates nor locks: the link is in the node, and moves with it from list to
//! list.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use kernel::prelude::*;

/// A node of a [`Stack`]: a value and a link.
pub struct StackNode<T> {
    next: *mut StackNode<T>,
    value: T,
}

// SAFETY: Apart from `next` it is a `T`; and `next` is only followed by the stack or the chain that
// the node is in, which own what it leads to.
unsafe impl<T: Send> Send for StackNode<T> {}

impl<T> StackNode<T> {
    /// Creates a node that is in no stack.
    #[inline]
    pub const fn new(value: T) -> Self {
        Self {
            next: null_mut(),
            value,
        }
    }

    /// Returns the value.
    #[inline]
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for StackNode<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for StackNode<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// A lock-free stack of nodes (as `struct llist_head`). Dropping it drops them.
///
/// # Invariants
///
/// `head` is null or a node that came out of a box, and so is the `next` of each node that it leads
/// to. All of them are the stack's alone.
pub struct Stack<T> {
    head: AtomicPtr<StackNode<T>>,
    _nodes: PhantomData<KBox<StackNode<T>>>,
}

// SAFETY: Values are only handed on, from the task that pushes one to the task that takes it.
unsafe impl<T: Send> Send for Stack<T> {}
// SAFETY: No reference to a value in it is given out, so that sharing the stack is no more than
// handing values from one task to another.
unsafe impl<T: Send> Sync for Stack<T> {}

impl<T> Default for Stack<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Stack<T> {
    /// Creates an empty stack.
    #[inline]
    pub const fn new() -> Self {
        // INVARIANT: Null.
        Self {
            head: AtomicPtr::new(null_mut()),
            _nodes: PhantomData,
        }
    }

    /// Pushes a node. Any context.
    #[inline]
    pub fn push(&self, node: KBox<StackNode<T>>) {
        let node = KBox::into_raw(node);
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: It came out of a box just now, and is nobody else's before it is in the
            // stack.
            unsafe { (*node).next = head };
            // INVARIANT: The node came out of a box and is the stack's now, and so was what it
            // leads to: `head` was the stack's head until this moment.
            let pushed =
                self.head
                    .compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed);
            match pushed {
                Ok(_) => return,
                Err(other) => head = other,
            }
        }
    }

    /// Takes all nodes, in the order in which they were pushed. Any context.
    #[inline]
    pub fn take(&self) -> Chain<T> {
        // INVARIANT: Null, from now on. What was the stack's is the chain's.
        let mut newest = self.head.swap(null_mut(), Ordering::Acquire);
        let mut chain = Chain {
            first: null_mut(),
            _nodes: PhantomData,
        };
        while !newest.is_null() {
            // SAFETY: A node that was the stack's, and so nobody else's.
            let next = unsafe { core::mem::replace(&mut (*newest).next, chain.first) };
            // INVARIANT: It came out of a box, and leads to what the chain had until now.
            chain.first = newest;
            newest = next;
        }
        chain
    }
}

impl<T> Drop for Stack<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// The nodes of a drained [`Stack`], oldest first.
///
/// # Invariants
///
/// As for [`Stack`], with `first` in place of `head`.
pub struct Chain<T> {
    first: *mut StackNode<T>,
    _nodes: PhantomData<KBox<StackNode<T>>>,
}

impl<T> Iterator for Chain<T> {
    type Item = KBox<StackNode<T>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let node = self.first;
        if node.is_null() {
            return None;
        }
        // SAFETY: A node of the chain, and so nobody else's.
        self.first = unsafe { core::mem::replace(&mut (*node).next, null_mut()) };
        // SAFETY: It came out of a box (type invariant), and the chain has given it up just now.
        Some(unsafe { KBox::from_raw(node) })
    }
}

impl<T> Drop for Chain<T> {
    fn drop(&mut self) {
        // One by one, and not each by the one before it: that would take a stack frame for each.
        self.for_each(drop);
    }
}
