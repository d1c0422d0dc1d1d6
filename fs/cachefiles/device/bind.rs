// SPDX-License-Identifier: GPL-2.0

//! `bind`: from a directory to a cache that netfs uses.

use crate::backing::dir::CacheDir;
use crate::backing::space::{Purpose, Space};
use crate::backing::trust::Trust;
use crate::backing::Backing;
use crate::cache::kept::{self, Met, TakenOver};
use crate::cache::ondemand::Engine;
use crate::cache::{all, linger, Behaviour, Cache, Pin};
use crate::format::limits::Limits;
use crate::marker::Cachefiles;
use crate::notify::Notifier;
use core::sync::atomic::AtomicBool;
use fscache::AcquiredCache;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::Arc;
use kernel::types::ARef;
use kernel_ext::cred::{Credential, NewCredential, User};
use kernel_ext::errno::EOPNOTSUPP;
use kernel_ext::fs::{may_create_in, Dentry, Inode, Path};
use kernel_ext::sync::{Completion, WaitQueue};

/// What the daemon set up before `bind`.
pub(crate) struct Settings<'a> {
    pub(crate) dir: &'a CStr,
    pub(crate) tag: &'a CStr,
    pub(crate) limits: Limits,
    pub(crate) security_id: Option<u32>,
    pub(crate) mode: Mode,
    pub(crate) behaviour: Behaviour,
}

/// Where the data comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Network file systems, as they read and write their files.
    Original,
    /// The daemon, asked when data is missing.
    OnDemand,
}

/// A cache that a device has got.
pub(crate) enum Got {
    /// It is new, or was kept: nothing keeps it bound yet.
    Unpinned(Arc<Cache>),
    /// It was lingering.
    Pinned(Arc<Pin>),
}

impl Got {
    pub(crate) fn cache(&self) -> &Arc<Cache> {
        match self {
            Got::Unpinned(cache) => cache,
            Got::Pinned(pin) => pin.cache(),
        }
    }
}

/// Makes a cache of the directory and hands it to netfs.
///
/// A cache of this name that lingers, or was kept for what is mounted, is taken over. One that is
/// just being withdrawn is waited for.
///
/// Errors: EINVAL id-mapped mount; EOPNOTSUPP the file system lacks what we need (tmpfile, extended
/// attributes, making directories, sync, blocks of at most a page); EROFS; ERANGE no block size;
/// EBUSY the tag or the directory is in use; EPERM the cache lingers, and another user has bound
/// it; EINTR killed; ENOMEM; what the path's look-up says.
pub(crate) fn bind(settings: &Settings<'_>, waiters: &Arc<WaitQueue>) -> Result<Got> {
    let _span = kernel_ext::log::span!("bind", "{:?}", settings.limits);
    bind_cache(settings, waiters).inspect_err(|error| {
        kernel_ext::log::error!("Failed to register: {}", error.to_errno());
    })
}

fn bind_cache(settings: &Settings<'_>, waiters: &Arc<WaitQueue>) -> Result<Got> {
    loop {
        match kept::meet(settings.tag) {
            Met::Expiring => kernel_ext::task::sleep(1),
            Met::Ending(gone) => gone.wait_killable()?,
            // fscache knows whether the name is taken.
            Met::Bound | Met::Nothing => {
                return add_cache(settings, waiters).map(Got::Unpinned);
            }
            Met::Vacant { cache, lingers } => {
                check_settings(settings, &cache)?;
                if lingers {
                    check_user(&cache)?;
                }
                cache.backing.space.set_limits(settings.limits)?;
                if let Some(got) = take_over(&cache, Some(&settings.behaviour)) {
                    return Ok(got);
                }
            }
        }
    }
}

/// Takes the lingering or kept cache of this name over, as it is.
///
/// Errors: ENOENT there is none; EBUSY it has a daemon, or somebody has fds of its last one; EPERM
/// another user has bound it.
pub(crate) fn attach(tag: &CStr) -> Result<Got> {
    loop {
        match kept::meet(tag) {
            Met::Expiring => kernel_ext::task::sleep(1),
            Met::Bound => return Err(EBUSY),
            Met::Ending(_) | Met::Nothing => return Err(ENOENT),
            Met::Vacant { cache, .. } => {
                check_user(&cache)?;
                if let Some(got) = take_over(&cache, None) {
                    return Ok(got);
                }
            }
        }
    }
}

/// Checks that the current user is the one who has bound the cache. Errors: EPERM; ENOMEM.
fn check_user(cache: &Cache) -> Result {
    if cache.backing.user == User::current()? {
        return Ok(());
    }
    kernel_ext::log::error!(
        "File cache on {} was bound by another user, or in another security context",
        cache.fscache.name()
    );
    Err(EPERM)
}

/// Takes a lingering or kept cache over. It behaves as before unless that is given. `None` where it
/// has come to its end in the meantime.
fn take_over(cache: &Arc<Cache>, behaviour: Option<&Behaviour>) -> Option<Got> {
    let behave = || behaviour.into_iter().for_each(|it| cache.behave(it));
    let got = match kept::take_over(cache)? {
        TakenOver::Kept => {
            behave();
            cache.revive();
            Got::Unpinned(cache.clone())
        }
        TakenOver::Lingering(pin) => {
            linger::stop(cache);
            behave();
            if let Some(engine) = cache.ondemand() {
                engine.hand_over();
            }
            Got::Pinned(pin)
        }
    };
    kernel_ext::log::info!("File cache on {} taken over", cache.fscache.name());
    // Only the culling state is of interest here: a full cache can still be read.
    let _ = cache.has_space(0, 0, Purpose::Check);
    Some(got)
}

/// Checks that a cache that could be taken over is what the daemon means.
fn check_settings(settings: &Settings<'_>, cache: &Cache) -> Result {
    let path_cred = service_cred(settings.security_id)?;
    let path = path_cred.with(|| Path::lookup_directory(settings.dir))?;
    check_features(&path)?;
    let difference = if settings.mode != Mode::OnDemand {
        Some("mode")
    } else if !cache.store.is_child_of(path.dentry()) {
        Some("directory")
    } else if cache.backing.security_id != settings.security_id {
        Some("security context")
    } else {
        None
    };
    match difference {
        Some(difference) => {
            refuse_kept(cache, difference);
            Err(EBUSY)
        }
        None => Ok(()),
    }
}

/// Tells the administrator what is in the way, and what to do about it.
fn refuse_kept(cache: &Cache, difference: &str) {
    kernel_ext::log::error!(
        "File cache on {} is kept for its next daemon, and this bind is of another {}: \
         bind it as before, or unmount first",
        cache.fscache.name(),
        difference
    );
}

fn add_cache(settings: &Settings<'_>, waiters: &Arc<WaitQueue>) -> Result<Arc<Cache>> {
    let fscache = AcquiredCache::acquire(settings.tag)?;
    let user = User::current()?;
    let path_cred = service_cred(settings.security_id)?;
    let path = path_cred.with(|| Path::lookup_directory(settings.dir))?;
    check_features(&path)?;
    let root_inode = path.dentry().inode().ok_or(EOPNOTSUPP)?;

    // From here on with the credentials that files are made with: those of the directory.
    let cred = files_cred(&path_cred, root_inode)?;
    cred.with(|| {
        check_permissions(&path)?;
        if let Some(cache) = kept::of_directory(path.dentry()) {
            refuse_kept(&cache, "tag");
            return Err(EBUSY);
        }
        let notifier = Arc::new(Notifier::new(waiters.clone()), GFP_KERNEL)?;
        let backing = Backing {
            mount: path.mount().into(),
            cred: cred.clone(),
            security_id: settings.security_id,
            user,
            trust: match settings.mode {
                Mode::Original => Trust::NotAsked,
                Mode::OnDemand => Trust::in_mount(path.mount()),
            },
            space: Space::new(&path, settings.limits, notifier.clone())?,
            is_read_only: AtomicBool::new(false),
        };
        add_cache_at(path.dentry(), backing, fscache, settings, notifier)
    })
}

/// Does the rest of [`add_cache`], with the cache's credentials.
fn add_cache_at(
    root: &Dentry,
    backing: Backing,
    fscache: AcquiredCache,
    settings: &Settings<'_>,
    notifier: Arc<Notifier>,
) -> Result<Arc<Cache>> {
    let (store, _) = CacheDir::open(&backing, root, b"cache")?;
    let (graveyard, _) = CacheDir::open(&backing, root, b"graveyard")?;
    let engine = match settings.mode {
        Mode::Original => None,
        Mode::OnDemand => Some(Arc::pin_init(Engine::new(notifier.clone()), GFP_KERNEL)?),
    };
    let gone = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
    let cache = Arc::pin_init(
        Cache::new(backing, store, graveyard, notifier, fscache, engine, gone),
        GFP_KERNEL,
    )?;
    if cache.ondemand().is_some() {
        kept::list(&cache)?;
    }
    // Before there are users, who may be there as soon as fscache has it.
    cache.behave(&settings.behaviour);
    all::add(&cache)?;
    let added = cache.fscache.add::<Cachefiles>(cache.clone());
    added.inspect_err(|_| all::remove(&cache))?;
    kernel_ext::log::info!("File cache on {} registered", cache.fscache.name());
    cache.backing.tell_trust(cache.fscache.name());

    // Only the culling state is of interest here: a full cache can still be read.
    let _ = cache.has_space(0, 0, Purpose::Check);
    Ok(cache)
}

/// Makes the daemon's credentials without its keyrings, in the security context that it named, if
/// any.
fn service_cred(security_id: Option<u32>) -> Result<ARef<Credential>> {
    let mut cred = NewCredential::for_service()?;
    if let Some(id) = security_id {
        cred.set_security_override(id).inspect_err(|error| {
            kernel_ext::log::error!(
                "The security context may not be used: error {}",
                error.to_errno()
            );
        })?;
    }
    Ok(cred.publish())
}

/// Makes those credentials with which new files are labelled as those of the cache's directory.
fn files_cred(base: &Credential, root: &Inode) -> Result<ARef<Credential>> {
    let mut cred = base.with(NewCredential::of_current)?;
    cred.create_files_as(root)?;
    Ok(cred.publish())
}

fn check_features(path: &Path) -> Result {
    if path.mount().is_idmapped() {
        kernel_ext::log::warn!("A cache on an id-mapped mount is not supported");
        return Err(EINVAL);
    }
    let root = path.dentry();
    let suitable = root.inode().is_some_and(Inode::can_be_cache_root)
        && root.super_block_can_sync_and_statfs()
        && root.super_block_size() <= PAGE_SIZE as u64;
    if !suitable {
        kernel_ext::log::error!(
            "The file system lacks what a cache needs: tmpfile, xattrs, sync, blocks of at most a page"
        );
        return Err(EOPNOTSUPP);
    }
    if root.super_block_is_read_only() {
        return Err(EROFS);
    }
    Ok(())
}

/// Checks that the security module lets us make directories and files. One that has no opinion
/// does.
fn check_permissions(path: &Path) -> Result {
    let (directories, files) = may_create_in(path.dentry());
    for (result, what) in [(directories, "directories"), (files, "files")] {
        match result {
            Err(error) if error != EOPNOTSUPP => {
                kernel_ext::log::error!(
                    "Making {} in the cache is denied: error {}",
                    what,
                    error.to_errno()
                );
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}
