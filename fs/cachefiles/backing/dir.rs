// SPDX-License-Identifier: GPL-2.0

//! Directories of the cache.

use crate::backing::in_use::InUse;
use crate::backing::space::Purpose;
use crate::backing::Backing;
use cachefiles_trace::{self as trace, ErrorSite};
use kernel::prelude::*;
use kernel::types::ARef;
use kernel_ext::fs::{Dentry, Inode, LockedDir};
use kernel_ext::params::{injected_read_error, injected_write_error};

/// A directory of the cache, marked as in use for as long as this lives.
pub(crate) struct CacheDir(InUse<Dentry>);

impl CacheDir {
    /// Opens the directory `name` in `parent`, and makes it if it's missing; true if it was made.
    ///
    /// Runs with the cache's credentials. Errors: EBUSY in use already; EIO not a directory; EPERM
    /// lacks an operation that we need; ENOBUFS no room for it; what the file system says.
    pub(crate) fn open(backing: &Backing, parent: &Dentry, name: &[u8]) -> Result<(Self, bool)> {
        // Until it is marked, nobody can take it away: neither `cull` nor `rmdir`.
        let locked = parent.lock_as_parent()?;
        let (dentry, is_new) =
            Self::look_up_or_make(backing, &locked, name).inspect_err(|error| {
                if *error != ENOMEM {
                    kernel_ext::log::error!(
                        "Cannot open the cache's directory {}: error {}",
                        name.escape_ascii(),
                        error.to_errno()
                    );
                }
            })?;
        let ino = dentry.inode().ok_or(EIO)?.ino();
        let Some(dir) = InUse::mark(None, dentry) else {
            kernel_ext::log::notice!(
                "Directory {} (inode {}) is in use already",
                name.escape_ascii(),
                ino
            );
            return Err(EBUSY);
        };
        drop(locked);
        let dir = Self(dir);
        if !dir.can_lookup() {
            kernel_ext::log::error!("{} is not a directory", name.escape_ascii());
            return Err(EIO);
        }
        if !dir.inode().is_some_and(Inode::can_be_cache_dir) {
            return Err(EPERM);
        }
        Ok((dir, is_new))
    }

    /// Returns another reference to the directory, which does not keep the mark.
    pub(crate) fn dentry(&self) -> ARef<Dentry> {
        self.0.held()
    }

    fn look_up_or_make(
        backing: &Backing,
        locked: &LockedDir<'_>,
        name: &[u8],
    ) -> Result<(ARef<Dentry>, bool)> {
        let parent = locked.dentry();
        loop {
            let found = injected_read_error().and_then(|()| locked.lookup(name));
            trace::lookup(None, parent, found.as_deref().map_err(|error| *error));
            let dentry = found.inspect_err(|&error| {
                if let Some(inode) = parent.inode() {
                    trace::vfs_error(None, inode, error, ErrorSite::Lookup);
                }
            })?;
            if !dentry.is_negative() {
                return Ok((dentry, false));
            }
            backing.space.reserve(1, 0, Purpose::Create)?;
            locked.may_mkdir(&backing.mount, &dentry, 0o700)?;
            injected_write_error()
                .and_then(|()| locked.mkdir(&dentry, 0o700))
                .inspect_err(|&error| {
                    if let Some(inode) = parent.inode() {
                        trace::vfs_error(None, inode, error, ErrorSite::Mkdir);
                    }
                })?;
            trace::mkdir(parent, &dentry);
            // Some file systems drop the dentry that they were given: look again.
            if !dentry.is_unhashed() {
                return Ok((dentry, true));
            }
        }
    }
}

impl core::ops::Deref for CacheDir {
    type Target = Dentry;

    fn deref(&self) -> &Dentry {
        &self.0
    }
}
