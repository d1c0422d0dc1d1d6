// SPDX-License-Identifier: GPL-2.0

//! A volume: a directory `I<key>` in the store, with up to 256 directories `@XX` that spread the
//! cache files of its objects.

use crate::backing::dir::CacheDir;
use crate::cache::coherency;
use crate::cache::grave;
use crate::cache::Cache;
use cachefiles_trace::Killed;
use fscache::VolumeHandle;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};
use kernel::types::ARef;
use kernel_ext::errno::ESTALE;
use kernel_ext::fs::Dentry;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Up to 256 directories, sixteen at a time: small volumes need few.
#[derive(Default)]
struct Fanout([Option<KBox<[Option<CacheDir>; 16]>>; 16]);

impl Fanout {
    /// Finds the place of a directory. Error: ENOMEM.
    fn place(&mut self, high: u8, low: u8) -> Result<&mut Option<CacheDir>> {
        let row = self.0.get_mut(usize::from(high)).ok_or(EINVAL)?;
        let row = match row {
            Some(row) => row,
            none => none.insert(KBox::new(Default::default(), GFP_KERNEL)?),
        };
        row.get_mut(usize::from(low)).ok_or(EINVAL)
    }
}

/// A volume in use.
#[pin_data]
pub(crate) struct Volume {
    netfs: VolumeHandle,
    dir: CacheDir,
    /// The directories that were needed so far, by the low byte of the cookie's key hash.
    #[pin]
    fanout: Mutex<Fanout>,
    /// Goes last, as the directories are the cache's.
    cache: Arc<Cache>,
}

impl Volume {
    /// Opens the directory of a volume, or makes it. What is in it and does not belong to the
    /// volume as it is now is buried before.
    ///
    /// Errors: ENOMEM; as for [`CacheDir::open`].
    pub(crate) fn acquire(cache: &Arc<Cache>, netfs: VolumeHandle) -> Result<Arc<Self>> {
        cache.secure(|| Self::open(cache, netfs))
    }

    /// Does the work of [`Volume::acquire`], with the cache's credentials.
    fn open(cache: &Arc<Cache>, netfs: VolumeHandle) -> Result<Arc<Self>> {
        let mut name = KVec::with_capacity(netfs.key().len() + 1, GFP_KERNEL)?;
        name.push(b'I', GFP_KERNEL)?;
        name.extend_from_slice(netfs.key(), GFP_KERNEL)?;

        let dir = loop {
            let (dir, is_new) = CacheDir::open(&cache.backing, &cache.store, &name)?;
            if is_new {
                coherency::set_volume(cache, &netfs, &dir)?;
                break dir;
            }
            match coherency::check_volume(cache, &netfs, &dir) {
                Ok(()) => break dir,
                Err(error) if error == ESTALE => {
                    let write = cache.backing.want_write()?;
                    let store = cache.store.lock_as_parent()?;
                    let buried = grave::bury(cache, &write, None, store, &dir, Killed::VolumeWeird);
                    let is_there = dir.is_child_of(&cache.store);
                    drop(dir);
                    buried?;
                    if is_there {
                        // The next round would find it again, and so on.
                        return Err(ESTALE);
                    }
                    kernel_ext::task::cond_resched();
                }
                Err(error) => return Err(error),
            }
        };
        Arc::pin_init(
            pin_init!(Self {
                netfs,
                dir,
                fanout <- new_mutex!(Fanout::default(), "cachefiles_fanout"),
                cache: cache.clone(),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    pub(crate) fn netfs(&self) -> &VolumeHandle {
        &self.netfs
    }

    pub(crate) fn debug_id(&self) -> u32 {
        self.netfs.debug_id()
    }

    /// Opens the directory of cache files whose key hashes to `hash`, or makes it, when it is first
    /// needed.
    ///
    /// Runs with the cache's credentials. Errors: ENOMEM; as for [`CacheDir::open`].
    pub(crate) fn fan_dir(&self, hash: u32) -> Result<ARef<Dentry>> {
        let [byte, ..] = hash.to_le_bytes();
        let (high, low) = (byte >> 4, byte & 0xf);
        let [h, l] = [high, low].map(|nibble| HEX[usize::from(nibble)]);
        let name = [b'@', h, l];

        let mut fanout = self.fanout.lock();
        let place = fanout.place(high, low)?;
        if let Some(dir) = place {
            return Ok(dir.dentry());
        }
        if let Some(dir) = CacheDir::find(&self.dir, &name)? {
            return Ok(place.insert(dir).dentry());
        }
        // On a frozen file system this waits: others, whose directories are there, must not.
        drop(fanout);
        let write = self.cache.backing.want_write()?;
        let mut fanout = self.fanout.lock();
        let place = fanout.place(high, low)?;
        if let Some(dir) = place {
            return Ok(dir.dentry());
        }
        let (dir, _) = CacheDir::make(&self.cache.backing, &write, &self.dir, &name)?;
        Ok(place.insert(dir).dentry())
    }

    /// Writes down the volume's coherency data as it is now. A failure is logged, and no more.
    pub(crate) fn set_coherency(&self, cache: &Cache) {
        let _ = coherency::set_volume(cache, &self.netfs, &self.dir);
    }
}
