// SPDX-License-Identifier: GPL-2.0

//! What a write brings: how much, and a number for what it is. And windows onto the memory of
//! reads, which remember these numbers.

use crate::fs::PAGE;
use cachefiles_bindings::sched;
use kernel::prelude::*;
use kernel::sync::Arc;
use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Bytes to be written.
pub struct IovIterSource<'a> {
    len: usize,
    tag: u32,
    _memory: PhantomData<&'a [u8]>,
}

impl IovIterSource<'_> {
    /// So many bytes.
    pub fn new(len: usize) -> Self {
        Self::tagged(len, 0)
    }

    /// So many bytes of this content.
    pub fn tagged(len: usize, tag: u32) -> Self {
        Self {
            len,
            tag,
            _memory: PhantomData,
        }
    }

    /// Bytes left.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none are left.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The content.
    pub fn tag(&self) -> u32 {
        self.tag
    }

    /// Another one over the same.
    pub fn duplicate(&self) -> IovIterSource<'_> {
        IovIterSource::tagged(self.len, self.tag)
    }

    /// Goes on.
    pub fn advance(&mut self, bytes: usize) {
        self.len -= bytes.min(self.len);
    }
}

/// The memory of a read, in whole pages: how many, and the content of those that are filled.
struct Memory {
    pages: usize,
    filled: Vec<u32>,
}

#[derive(Default)]
struct Lock {
    is_held: bool,
    sleepers: Vec<Waker>,
}

/// The memory of a read that waits, as long as it may be filled by others.
pub struct Window {
    lock: Mutex<Lock>,
    memory: Mutex<Option<Memory>>,
}

fn inner<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Window {
    fn enter(&self) {
        sched::point();
        sched::sleep_until(|waker| {
            let mut lock = inner(&self.lock);
            if lock.is_held {
                lock.sleepers.push(waker.clone());
                return None;
            }
            lock.is_held = true;
            Some(())
        });
    }

    fn leave(&self) {
        let sleepers = {
            let mut lock = inner(&self.lock);
            lock.is_held = false;
            std::mem::take(&mut lock.sleepers)
        };
        sleepers.iter().for_each(Waker::wake_by_ref);
    }

    /// Whether all of it is filled.
    pub fn is_full(&self) -> bool {
        self.look().is_some_and(|view| view.left() == 0)
    }

    /// Looks at the memory, unless it is closed or shut. May sleep.
    pub fn look(&self) -> Option<View<'_>> {
        self.enter();
        let view = View(self);
        inner(&self.memory).is_some().then_some(view)
    }
}

/// The memory behind an open window.
pub struct View<'a>(&'a Window);

impl View<'_> {
    /// Bytes that are not filled.
    pub fn left(&self) -> usize {
        let memory = inner(&self.0.memory);
        let left = memory
            .as_ref()
            .map(|memory| memory.pages - memory.filled.len());
        left.unwrap_or(0) * PAGE as usize
    }

    /// Fills the next pages, one after the other.
    pub fn fill(&mut self, source: &mut IovIterSource<'_>, bytes: usize) -> usize {
        let mut filled = 0;
        while filled < bytes {
            sched::point();
            let mut memory = inner(&self.0.memory);
            let memory = memory.as_mut().expect("filled when it was closed");
            assert!(memory.filled.len() < memory.pages, "filled behind its end");
            memory.filled.push(source.tag());
            source.advance(PAGE as usize);
            filled += PAGE as usize;
        }
        filled
    }

    /// Nobody fills it any more.
    pub fn shut(self) {
        *inner(&self.0.memory) = None;
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// The owner's side.
pub struct OpenWindow(Arc<Window>);

impl OpenWindow {
    /// One of so many pages.
    pub fn new(pages: usize) -> Result<Self> {
        let memory = Memory {
            pages,
            filled: Vec::new(),
        };
        let window = Window {
            lock: Mutex::default(),
            memory: Mutex::new(Some(memory)),
        };
        Ok(Self(Arc::new(window, GFP_KERNEL)?))
    }

    /// The side of those who fill it.
    pub fn window(&self) -> &Arc<Window> {
        &self.0
    }

    /// The content of each page, if all of them were filled.
    pub fn close(self) -> Option<Vec<u32>> {
        self.0.enter();
        let memory = inner(&self.0.memory).take();
        self.0.leave();
        let memory = memory.filter(|memory| memory.filled.len() == memory.pages);
        memory.map(|memory| memory.filled)
    }
}
