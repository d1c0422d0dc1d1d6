// SPDX-License-Identifier: GPL-2.0

//! Caching on the files of a mounted file system: the cache back end of fscache and netfs.
//!
//! A drop-in for the C module of the same name (`fs/cachefiles` of Linux 6.12). Where to look:
//!
//! - `device`: `/dev/cachefiles`, the commands and messages of the daemon; below it `bind` and
//!   `cull`;
//! - `backend`: how netfs calls us; `io`: what it asks of cache files;
//! - `cache`: a bound cache, from `bind` to the last pin; below it `volume` and `object`: what
//!   netfs caches, and its files; `ondemand`: asking the daemon for data as it is read, and
//!   outliving the daemon; `linger`: waiting for the next one; `kept`: what becomes of an on-demand
//!   cache without one;
//! - `data`: which file an object has, and where in it there is data;
//! - `backing`: the file system that a cache is kept on, and what the cache may take of it;
//! - `format`: commands, names, attributes; `notify`: waking the daemon; `marker`: our type in
//!   those of fscache.
//!
//! A file imports from what stands below its own folder in this list, or from the folder itself.
//! No kernel is needed by `format`, `data::{extent, extent_cache, snapshot}`, `io::first_part`, and
//! in `cache::ondemand` by `{state, entry, table, opening, time, reads_ahead, streams, message}`:
//! they are tested on the host, too.
//!
//! How a READ goes through these files: `Documentation/architecture.rst`.
//! Locks and lifetimes: `Documentation/locking.rst`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod backend;
mod backing;
mod cache;
mod data;
mod debugfs;
mod device;
mod format;
mod io;
mod marker;
mod notify;

use cache::{all, kept, ondemand};
use kernel::prelude::*;
use kernel_ext::miscdevice::MiscDeviceRegistration;
use kernel_ext::params::ErrorInjection;

/// What log lines begin with.
const LOG_PREFIX: &[u8] = b"CacheFiles\0";

module! {
    type: Module,
    name: "cachefiles",
    author: "The cachefiles in Rust authors",
    description: "Mounted-filesystem based cache",
    license: "GPL",
}

/// What lives as long as the module is loaded. The files and the device go first.
struct Module {
    _debugfs: kernel_ext::debugfs::Directory,
    _device: Pin<KBox<MiscDeviceRegistration<device::Device>>>,
    _error_injection: ErrorInjection,
    /// Go last.
    _object_fds: kernel_ext::slab::Created<ondemand::ObjectFd>,
}

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let loaded = ErrorInjection::register().and_then(|error_injection| {
            let object_fds = ondemand::OBJECT_FDS.create()?;
            let device = MiscDeviceRegistration::register(kernel::c_str!("cachefiles"), module);
            let device = KBox::pin_init(device, GFP_KERNEL)?;
            Ok(Self {
                _debugfs: debugfs::create(module)?,
                _device: device,
                _error_injection: error_injection,
                _object_fds: object_fds,
            })
        });
        match &loaded {
            Ok(_) => kernel_ext::log::info!("Loaded"),
            Err(error) => kernel_ext::log::error!("failed to register: {}", error.to_errno()),
        }
        loaded
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        kernel_ext::log::info!("Unloading");
        kept::unload();
        all::unload();
        device::unload();
        // There are no callers any more, but the last one may still be on the way out:
        // the end of an operation or of a withdrawal drops the cache before it returns.
        kernel_ext::workqueue::flush(fscache::queue());
        kernel_ext::task::synchronize_rcu_tasks();
    }
}
