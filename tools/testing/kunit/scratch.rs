// SPDX-License-Identifier: GPL-2.0

//! Empty directories on real file systems. `scripts/guest/kunit` mounts these.

use core::sync::atomic::{AtomicU32, Ordering};
use kernel::prelude::*;
use kernel::str::CString;
use kernel::types::ARef;
use kernel_ext::cred::NewCredential;
use kernel_ext::fs::{Dentry, File, Mount, Path};
use kunit::{skip, Outcome};

/// The root of a file system that cannot be written.
pub(crate) fn read_only() -> Outcome<Path> {
    mounted(kernel::c_str!("/run/kunit/readonly"))
}

fn mounted(place: &'static CStr) -> Outcome<Path> {
    match Path::lookup_directory(place) {
        Err(error) if error == ENOENT => skip!("nothing is mounted below /run/kunit"),
        found => Ok(found?),
    }
}

/// A directory that nobody else uses.
pub(crate) struct Scratch {
    path: Path,
    is_on_a_disk: bool,
}

impl Scratch {
    /// On tmpfs.
    pub(crate) fn on_tmpfs() -> Outcome<Self> {
        Self::in_directory(&mounted(kernel::c_str!("/run/kunit/tmpfs"))?, false)
    }

    /// On ext4, which has a disk.
    pub(crate) fn on_ext4() -> Outcome<Self> {
        Self::in_directory(&mounted(kernel::c_str!("/run/kunit/ext4"))?, true)
    }

    /// One on each.
    pub(crate) fn on_each() -> Outcome<[Self; 2]> {
        Ok([Self::on_tmpfs()?, Self::on_ext4()?])
    }

    fn in_directory(parent: &Path, is_on_a_disk: bool) -> Outcome<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = CString::try_from_fmt(format_args!("test-{number}"))?;
        let write = parent.mount().want_write()?;
        let locked = parent.dentry().lock_as_parent()?;
        let dentry = locked.lookup(name.as_bytes())?;
        locked.mkdir(&write, &dentry, 0o755)?;
        drop(locked);
        Ok(Self {
            path: Path::new(parent.mount(), &dentry)?,
            is_on_a_disk,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn dir(&self) -> &Dentry {
        self.path.dentry()
    }

    pub(crate) fn mount(&self) -> &Mount {
        self.path.mount()
    }

    pub(crate) fn is_on_a_disk(&self) -> bool {
        self.is_on_a_disk
    }

    /// What has this name. It may be nothing yet.
    pub(crate) fn name(&self, name: &[u8]) -> Outcome<ARef<Dentry>> {
        Ok(self.dir().lock_as_parent()?.lookup(name)?)
    }

    pub(crate) fn mkdir(&self, name: &[u8]) -> Outcome<ARef<Dentry>> {
        let write = self.mount().want_write()?;
        let locked = self.dir().lock_as_parent()?;
        let dentry = locked.lookup(name)?;
        locked.mkdir(&write, &dentry, 0o755)?;
        Ok(dentry)
    }

    /// A new file without a name, open for direct reading and writing.
    pub(crate) fn nameless(&self) -> Outcome<ARef<File>> {
        let cred = NewCredential::of_current()?.publish();
        Ok(File::create_tmpfile(self.path(), 0o600, &cred)?)
    }

    /// Gives a file a name.
    pub(crate) fn link(&self, file: &File, name: &[u8]) -> Outcome<ARef<Dentry>> {
        let write = self.mount().want_write()?;
        let locked = self.dir().lock_as_parent()?;
        let dentry = locked.lookup(name)?;
        locked.link(&write, file.dentry(), &dentry)?;
        Ok(dentry)
    }

    /// A new file with a name, not open.
    pub(crate) fn file(&self, name: &[u8]) -> Outcome<ARef<Dentry>> {
        self.link(&*self.nameless()?, name)
    }
}
