// SPDX-License-Identifier: GPL-2.0

//! A bound cache: a directory of a mounted file system that netfs may use.
//!
//! Lives from `bind` until the last pin is gone: the device's file is one, each anonymous fd is
//! another. Objects and volumes keep it in memory, too, but not bound. An on-demand cache that is
//! in use then is kept: see `kept`. One that was told to waits for its next daemon: see `linger`.

pub(crate) mod all;
mod behaviour;
pub(crate) mod claim;
pub(crate) mod coherency;
pub(crate) mod grave;
pub(crate) mod kept;
pub(crate) mod linger;
pub(crate) mod object;
pub(crate) mod ondemand;
mod pin;
pub(crate) mod volume;

pub(crate) use self::behaviour::Behaviour;
pub(crate) use self::pin::Pin;

use self::object::Object;
use self::ondemand::Engine;
use self::volume::Volume;
use crate::backing::dir::CacheDir;
use crate::backing::space::Purpose;
use crate::backing::Backing;
use crate::marker::Cachefiles;
use crate::notify::Notifier;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use fscache::AcquiredCache;
use kernel::c_str;
use kernel::prelude::*;
use kernel::static_lock_class;
use kernel::sync::Arc;
use kernel::uaccess::UserSliceWriter;
use kernel::workqueue::{impl_has_work, new_work, Work};
use kernel_ext::gfp::Gfp;
use kernel_ext::sync::Completion;
use kernel_ext::xarray::Registry;

/// A bound cache.
#[pin_data]
pub(crate) struct Cache {
    pub(crate) backing: Backing,
    /// `<dir>/cache`
    pub(crate) store: CacheDir,
    /// `<dir>/graveyard`
    pub(crate) graveyard: CacheDir,
    pub(crate) grave_counter: AtomicU32,
    pub(crate) notifier: Arc<Notifier>,
    /// Only in on-demand mode.
    ondemand: Option<Arc<Engine>>,
    pub(crate) fscache: AcquiredCache,
    /// In the original mode. In on-demand mode the engine knows.
    dead: AtomicBool,
    /// By their numbers, so that all of them can be withdrawn.
    #[pin]
    objects: Registry<Object>,
    #[pin]
    volumes: Registry<Volume>,
    /// Withdraws it when it was kept. See `kept`.
    #[pin]
    ending: Work<Cache>,
    pub(crate) patience: linger::Patience,
    daemonless: AtomicBool,
    mixed: AtomicBool,
    /// Ends it when nobody came in time. See `linger`.
    #[pin]
    expiry: linger::Expiry,
    /// Goes last: its directories are free then.
    gone: kept::Listing,
}

impl_has_work! {
    impl HasWork<Self> for Cache { self.ending }
}

impl Cache {
    pub(crate) fn new(
        backing: Backing,
        store: CacheDir,
        graveyard: CacheDir,
        notifier: Arc<Notifier>,
        fscache: AcquiredCache,
        ondemand: Option<Arc<Engine>>,
        gone: Arc<Completion>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            backing,
            store,
            graveyard,
            grave_counter: AtomicU32::new(0),
            ondemand,
            notifier,
            fscache,
            dead: AtomicBool::new(false),
            objects <- Registry::new(c_str!("cachefiles_objects"), static_lock_class!()),
            volumes <- Registry::new(c_str!("cachefiles_volumes"), static_lock_class!()),
            ending <- new_work!("cachefiles_ending"),
            patience: linger::Patience::new(),
            daemonless: AtomicBool::new(false),
            mixed: AtomicBool::new(false),
            expiry <- linger::Expiry::new(static_lock_class!()),
            gone: kept::Listing::new(gone),
        }? Error)
    }

    /// Runs `act` with the cache's credentials.
    #[inline]
    pub(crate) fn secure<R>(&self, act: impl FnOnce() -> R) -> R {
        self.backing.cred.with(act)
    }

    /// Returns the engine of a cache whose data a daemon fetches as it is read; none in the
    /// original mode.
    pub(crate) fn ondemand(&self) -> Option<&Engine> {
        self.ondemand.as_deref()
    }

    /// Returns the engine with its refcount, for references that last.
    pub(crate) fn engine(&self) -> Option<&Arc<Engine>> {
        self.ondemand.as_ref()
    }

    /// Returns what is completed when the cache is gone.
    pub(crate) fn gone(&self) -> &Arc<Completion> {
        self.gone.gone()
    }

    pub(crate) fn is_dead(&self) -> bool {
        match self.ondemand() {
            Some(engine) => engine.is_dead(),
            None => self.dead.load(Ordering::Acquire),
        }
    }

    /// Ends the daemon's part: it is asked for nothing any more, and all that waits for it fails
    /// with EIO.
    pub(crate) fn kill(&self) {
        match self.ondemand() {
            Some(engine) => engine.kill(),
            None => self.dead.store(true, Ordering::Release),
        }
        self.notifier.wake_all();
    }

    /// Begins the part of a daemon that has taken the cache over: it is asked for data again.
    pub(crate) fn revive(&self) {
        if let Some(engine) = self.ondemand() {
            engine.revive();
        }
    }

    /// Gives the cache up, as its file system fails in a way that leaves it unusable.
    ///
    /// In on-demand mode only the daemon's side of it: what is cached can still be read, as far as
    /// the file system lets us. Besides, fscache begins no operation on a cache that was given up
    /// to an I/O error, and EROFS corrupts memory where it cannot begin one.
    pub(crate) fn io_error(&self, what: core::fmt::Arguments<'_>) {
        kernel_ext::log::error!("I/O Error: {}", what);
        if self.ondemand.is_none() {
            self.fscache.io_error();
        }
        self.kill();
    }

    /// Logs an error with one of the cache's files, and gives the cache up for it where that is
    /// called for. In the original mode EIO ends the cache: the disk is
    /// bad, and the server has everything. In on-demand mode there is no other source: what can be
    /// read is to be, and only what cannot fails.
    pub(crate) fn file_error(&self, error: Error, what: core::fmt::Arguments<'_>) {
        let errno = error.to_errno();
        if error == EIO && self.ondemand.is_none() {
            self.io_error(format_args!("{what} (error {errno})"));
        } else {
            kernel_ext::log::error!("{} (error {})", what, errno);
        }
    }

    /// Checks that there is room. Errors: ENOBUFS there is none; those of `statfs()`.
    pub(crate) fn has_space(&self, files: u64, blocks: u64, purpose: Purpose) -> Result {
        self.backing
            .space
            .reserve(files, blocks, purpose)
            .inspect_err(|&error| {
                if error != kernel_ext::errno::ENOBUFS {
                    cachefiles_trace::vfs_error(
                        None,
                        self.backing.mount.root_inode(),
                        error,
                        cachefiles_trace::ErrorSite::Statfs,
                    );
                }
                if error == EIO {
                    self.io_error(format_args!("statfs failed"));
                }
            })
    }

    /// Returns whether there is room for so many bytes that nobody needs yet.
    pub(crate) fn has_room_ahead(&self, bytes: i64) -> bool {
        self.secure(|| self.backing.space.is_ample_for(bytes.unsigned_abs()))
    }

    /// Serves the daemon's read in the original mode. Errors: as for [`Space::read_state`].
    ///
    /// [`Space::read_state`]: crate::backing::space::Space::read_state
    pub(crate) fn read_state(&self, out: UserSliceWriter) -> Result<usize> {
        // Whether there is room does not matter here: what counts is the culling state.
        let _ = self.has_space(0, 0, Purpose::Check);
        self.backing.space.read_state(out)
    }

    /// Lists an object for withdrawal. Errors: ENOMEM; EBUSY, there are 2^32 of them.
    pub(crate) fn add_object(&self, object: &Arc<Object>) -> Result {
        self.objects
            .insert(object.debug_id(), object.clone(), Gfp::Kernel)
    }

    /// Takes an object off the list; false where it was not on it.
    pub(crate) fn remove_object(&self, object: &Object) -> bool {
        self.objects.remove(object.debug_id()).is_some()
    }

    /// Shows the object with the lowest debug id that is not below `id`, with the list locked, and
    /// returns its debug id. `look` does not sleep.
    pub(crate) fn look_at_object(&self, id: u32, look: impl FnOnce(&Object)) -> Option<u32> {
        let objects = self.objects.lock();
        let (id, object) = objects.at_or_behind(id)?;
        look(&object);
        Some(id)
    }

    /// Lists a volume for withdrawal. Errors: as for [`Cache::add_object`].
    pub(crate) fn add_volume(&self, volume: &Arc<Volume>) -> Result {
        self.volumes
            .insert(volume.debug_id(), volume.clone(), Gfp::Kernel)
    }

    /// Takes a volume off the list.
    pub(crate) fn remove_volume(&self, volume: &Volume) {
        drop(self.volumes.remove(volume.debug_id()));
    }

    /// Returns whether netfs has a volume in it. Any that comes later finds the cache as it is
    /// then.
    pub(crate) fn has_volumes(&self) -> bool {
        self.volumes.lock().first().is_some()
    }

    /// Keeps or withdraws the cache after its last pin: no daemon can come any more.
    fn unpinned(self: &Arc<Self>) {
        if kept::keep(self) {
            kernel_ext::log::info!(
                "File cache on {} has lost its daemon: kept for what is mounted",
                self.fscache.name()
            );
            // What the daemon has fetched is on the disk, as when the cache is unbound.
            self.sync();
        } else {
            self.withdraw();
        }
    }

    /// Takes the cache away from netfs. Called once, when no daemon can come any more and it is not
    /// kept.
    ///
    /// Waits until all objects are withdrawn, so the daemon's side has to be dead by now:
    /// else it might wait for an answer that nobody gives.
    pub(crate) fn withdraw(&self) {
        kernel_ext::log::info!("File cache on {} unregistering", self.fscache.name());
        all::remove(self);
        if let Some(engine) = self.ondemand() {
            engine.stop_clock();
        }
        self.fscache.withdraw();
        self.withdraw_accesses();
        self.withdraw_objects();
        self.fscache.wait_for_objects();
        self.withdraw_volumes();
        self.sync();
        self.fscache.relinquish();
    }

    /// Waits until nobody is inside a volume.
    fn withdraw_accesses(&self) {
        loop {
            match self.find_accessed_volume() {
                Some(volume) => volume.withdraw(),
                None => return,
            }
        }
    }

    fn find_accessed_volume(&self) -> Option<fscache::VolumeRef> {
        let volumes = self.volumes.lock();
        let mut next = volumes.first();
        while let Some((id, volume)) = next {
            if volume.netfs().n_accesses() != 0 {
                if let Some(found) = volume.netfs().try_get() {
                    return Some(found);
                }
            }
            next = volumes.at_or_behind(id.checked_add(1)?);
        }
        None
    }

    /// Begins to withdraw every object; netfs' workers then clean them up.
    fn withdraw_objects(&self) {
        loop {
            let mut objects = self.objects.lock();
            let Some((id, object)) = objects.first() else {
                return;
            };
            object.trace_ref(cachefiles_trace::RefWhy::SeeWithdrawal);
            // Under the lock: while the object is on the list its cookie stays.
            object.cookie().withdraw();
            let object = objects.remove(id);
            drop(objects);
            drop(object);
            kernel_ext::task::cond_resched();
        }
    }

    /// Detaches every volume that netfs did not relinquish yet.
    fn withdraw_volumes(&self) {
        loop {
            match self.take_volume() {
                NextVolume::Taken(pinned, volume) => {
                    volume.set_coherency(self);
                    volume.netfs().detach::<Cachefiles>();
                    drop(volume);
                    drop(pinned);
                }
                NextVolume::Freed => kernel_ext::task::cond_resched(),
                NextVolume::None => return,
            }
        }
    }

    /// Takes the first volume off the list if netfs still holds it.
    fn take_volume(&self) -> NextVolume {
        let mut volumes = self.volumes.lock();
        let Some((id, pinned)) = volumes.first().map(|(id, v)| (id, v.netfs().try_get())) else {
            return NextVolume::None;
        };
        let Some(pinned) = pinned else {
            return NextVolume::Freed;
        };
        let volume = volumes.remove(id);
        drop(volumes);
        match volume {
            Some(volume) => NextVolume::Taken(pinned, volume),
            None => NextVolume::Freed,
        }
    }

    fn sync(&self) {
        let result = self.secure(|| self.backing.mount.sync_filesystem());
        if result == Err(EIO) {
            self.io_error(format_args!("Syncing the backing file system failed"));
        }
    }
}

/// The first volume of a cache that is withdrawn.
enum NextVolume {
    /// Off the list. What keeps it at netfs goes last.
    Taken(fscache::VolumeRef, Arc<Volume>),
    /// On the list: netfs is freeing it, and about to take it off.
    Freed,
    None,
}
