// SPDX-License-Identifier: GPL-2.0

//! The mark that keeps others off what we use.
//!
//! An inode in use bears `S_KERNEL_FILE`: it can't be removed by `rmdir`, and neither `cull` nor a
//! second cache takes it.

use cachefiles_trace as trace;
use kernel::types::{ARef, AlwaysRefCounted};
use kernel_ext::fs::{Dentry, File, Inode};

/// What has an inode, as long as it is held.
pub(crate) trait HasInode: AlwaysRefCounted {
    /// Returns the inode. `None` where it is the name of nothing.
    fn inode_of(&self) -> Option<&Inode>;
}

impl HasInode for Dentry {
    fn inode_of(&self) -> Option<&Inode> {
        self.inode()
    }
}

impl HasInode for File {
    fn inode_of(&self) -> Option<&Inode> {
        Some(self.inode())
    }
}

/// What the trace says of a mark.
#[derive(Clone, Copy)]
enum Traced {
    /// That it comes and goes, and for which object.
    For(Option<u32>),
    /// Nothing, as nobody uses it.
    Not,
}

/// A file or directory that is marked as in use for as long as this lives.
///
/// Where it is dropped the inode is not locked by that task, which may sleep.
pub(crate) struct InUse<T: HasInode> {
    held: ARef<T>,
    traced: Traced,
    /// Whether the mark is still this one's to take away.
    owns_mark: bool,
}

impl<T: HasInode> InUse<T> {
    /// Marks it. `None` where it is in use already, or the name of nothing. Locks the inode.
    pub(crate) fn mark(object: Option<u32>, held: ARef<T>) -> Option<Self> {
        Self::new(held, Traced::For(object))
    }

    /// Marks it to keep users off while it is removed. `None` as for [`InUse::mark`].
    pub(crate) fn mark_for_removal(held: ARef<T>) -> Option<Self> {
        Self::new(held, Traced::Not)
    }

    fn new(held: ARef<T>, traced: Traced) -> Option<Self> {
        let mut locked = held.inode_of()?.lock();
        let is_ours = locked.mark_kernel_file();
        match traced {
            Traced::For(object) if is_ours => trace::mark_active(object, locked.inode()),
            Traced::For(object) => trace::mark_failed(object, locked.inode()),
            Traced::Not => {}
        }
        drop(locked);
        // Only where the mark is ours is there a value that takes it away.
        if !is_ours {
            return None;
        }
        Some(Self {
            held,
            traced,
            owns_mark: true,
        })
    }

    /// Leaves the mark to what became of it: it was removed, or moved, and the mark taken away with
    /// that.
    pub(crate) fn removed(mut self) {
        self.owns_mark = false;
    }

    /// Has the trace say nothing when the mark goes.
    pub(crate) fn untraced(mut self) -> Self {
        self.traced = Traced::Not;
        self
    }

    /// Returns another reference to it, which does not keep the mark.
    pub(crate) fn held(&self) -> ARef<T> {
        self.held.clone()
    }
}

impl InUse<Dentry> {
    /// Goes over to the file that was opened by this name.
    pub(crate) fn opened(mut self, file: ARef<File>) -> InUse<File> {
        self.owns_mark = false;
        InUse {
            held: file,
            traced: self.traced,
            owns_mark: true,
        }
    }
}

impl<T: HasInode> core::ops::Deref for InUse<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.held
    }
}

impl<T: HasInode> Drop for InUse<T> {
    fn drop(&mut self) {
        if !self.owns_mark {
            return;
        }
        if let Some(inode) = self.held.inode_of() {
            inode.lock().clear_kernel_file();
            if let Traced::For(object) = self.traced {
                trace::mark_inactive(object, inode);
            }
        }
    }
}
