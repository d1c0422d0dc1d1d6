// SPDX-License-Identifier: GPL-2.0

//! Directories of the cache.

use crate::backing::in_use::InUse;
use crate::backing::space::Purpose;
use crate::backing::Backing;
use cachefiles_trace::{self as trace, ErrorSite};
use kernel::prelude::*;
use kernel::types::ARef;
use kernel_ext::fs::{Dentry, Inode, LockedDir, WantWrite};
use kernel_ext::params::{injected_read_error, injected_write_error};

/// A directory of the cache, marked as in use for as long as this lives.
pub(crate) struct CacheDir(InUse<Dentry>);

impl CacheDir {
    /// Opens the directory `name` in `parent`, and makes it if it's missing; true if it was made.
    ///
    /// Runs with the cache's credentials. Errors: EBUSY in use already; EIO not a directory; EPERM
    /// lacks an operation that we need; ENOBUFS no room for it; EROFS; what the file system says.
    pub(crate) fn open(backing: &Backing, parent: &Dentry, name: &[u8]) -> Result<(Self, bool)> {
        if let Some(dir) = Self::find(parent, name)? {
            return Ok((dir, false));
        }
        // Write access has to be waited for while the file system is frozen: what is there is
        // found without.
        let write = backing.want_write()?;
        Self::make(backing, &write, parent, name)
    }

    /// Opens the directory `name` in `parent` if it is there. Errors: as for [`CacheDir::open`].
    pub(crate) fn find(parent: &Dentry, name: &[u8]) -> Result<Option<Self>> {
        Self::mark_found(parent, name)
            .inspect_err(|&error| log_failure(name, error))?
            .map(|dir| dir.checked(name))
            .transpose()
    }

    /// Makes the directory `name` in `parent`, unless somebody else has by now; and opens it. True
    /// if it was made. Errors: as for [`CacheDir::open`].
    pub(crate) fn make(
        backing: &Backing,
        write: &WantWrite<'_>,
        parent: &Dentry,
        name: &[u8],
    ) -> Result<(Self, bool)> {
        let (dir, is_new) = Self::mark_made(backing, write, parent, name)
            .inspect_err(|&error| log_failure(name, error))?;
        Ok((dir.checked(name)?, is_new))
    }

    /// Marks what has that name, if anything has.
    fn mark_found(parent: &Dentry, name: &[u8]) -> Result<Option<Self>> {
        let locked = parent.lock_as_parent()?;
        let found = injected_read_error().and_then(|()| locked.lookup(name));
        trace::lookup(None, parent, found.as_deref().map_err(|error| *error));
        let dentry = found.inspect_err(|&error| {
            if let Some(inode) = parent.inode() {
                trace::vfs_error(None, inode, error, ErrorSite::Lookup);
            }
        })?;
        if dentry.is_negative() {
            return Ok(None);
        }
        Self::mark(&locked, dentry, name).map(Some)
    }

    /// Makes and marks a directory of that name; false if somebody else has made it by now.
    fn mark_made(
        backing: &Backing,
        write: &WantWrite<'_>,
        parent: &Dentry,
        name: &[u8],
    ) -> Result<(Self, bool)> {
        let locked = parent.lock_as_parent()?;
        let mut is_new = false;
        loop {
            let dentry = locked.lookup(name)?;
            if !dentry.is_negative() {
                return Ok((Self::mark(&locked, dentry, name)?, is_new));
            }
            backing.space.reserve(1, 0, Purpose::Create)?;
            locked.may_mkdir(write, &dentry, 0o700)?;
            injected_write_error()
                .and_then(|()| locked.mkdir(write, &dentry, 0o700))
                .inspect_err(|&error| {
                    if let Some(inode) = parent.inode() {
                        trace::vfs_error(None, inode, error, ErrorSite::Mkdir);
                    }
                })?;
            trace::mkdir(parent, &dentry);
            is_new = true;
            // Some file systems drop the dentry that they were given: look again.
            if !dentry.is_unhashed() {
                return Ok((Self::mark(&locked, dentry, name)?, is_new));
            }
        }
    }

    /// Marks a child of the locked directory: nobody can take it away then, neither `cull` nor
    /// `rmdir`. Error: EBUSY in use already.
    fn mark(_locked: &LockedDir<'_>, dentry: ARef<Dentry>, name: &[u8]) -> Result<Self> {
        let ino = dentry.inode().ok_or(EIO)?.ino();
        InUse::mark(None, dentry).map(Self).ok_or_else(|| {
            kernel_ext::log::notice!(
                "Directory {} (inode {}) is in use already",
                name.escape_ascii(),
                ino
            );
            EBUSY
        })
    }

    /// Checks that it can be a directory of the cache. Errors: EIO, EPERM.
    fn checked(self, name: &[u8]) -> Result<Self> {
        if !self.can_lookup() {
            kernel_ext::log::error!("{} is not a directory", name.escape_ascii());
            return Err(EIO);
        }
        if !self.inode().is_some_and(Inode::can_be_cache_dir) {
            return Err(EPERM);
        }
        Ok(self)
    }

    /// Returns another reference to the directory, which does not keep the mark.
    pub(crate) fn dentry(&self) -> ARef<Dentry> {
        self.0.held()
    }
}

/// Says why a directory is not to be had; EBUSY was said already.
fn log_failure(name: &[u8], error: Error) {
    if error != ENOMEM && error != EBUSY {
        kernel_ext::log::error!(
            "Cannot open the cache's directory {}: error {}",
            name.escape_ascii(),
            error.to_errno()
        );
    }
}

impl core::ops::Deref for CacheDir {
    type Target = Dentry;

    fn deref(&self) -> &Dentry {
        &self.0
    }
}
