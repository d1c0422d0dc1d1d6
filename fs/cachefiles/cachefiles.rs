// SPDX-License-Identifier: GPL-2.0

//! Caching on the files of a mounted file system: the cache back end of fscache and netfs.
//!
//! A drop-in for the C module of the same name (`fs/cachefiles` of Linux 6.12). Where to look:
//!
//! - `device`: `/dev/cachefiles`, the commands and messages of the daemon;
//! - `cache`: a bound cache, from `bind` to the last pin; `space`: what it may take; `kept`: what
//!   becomes of an on-demand cache without a daemon;
//! - `volume`, `object`, `lookup`: what netfs caches, and its files; `backend`: how netfs calls us;
//! - `io`: reading from and writing to cache files;
//! - `ondemand`: asking the daemon for data as it is read, and outliving the daemon;
//! - `command`, `extent`, `glance`, `limits`, `key`, `layout`,
//!   `ondemand::{state, entry, table, message}`: no kernel in them,
//!   tested on the host too.
//!
//! Locks and lifetimes: `Documentation/locking.rst`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod backend;
mod bind;
mod cache;
mod coherency;
mod command;
mod cull;
mod device;
mod dir;
mod extent;
mod glance;
mod grave;
mod in_use;
mod io;
mod kept;
mod key;
mod layout;
mod limits;
mod lookup;
mod notify;
mod object;
mod ondemand;
mod resize;
mod space;
mod volume;

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

/// What lives as long as the module is loaded. The device goes first.
struct Module {
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
            Ok(Self {
                _device: KBox::pin_init(device, GFP_KERNEL)?,
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
        device::unload();
        // Nobody can call us any more, but who was the last to do so may still be on the way out:
        // the end of an operation or of a withdrawal lets the cache go before it returns.
        kernel_ext::workqueue::flush(fscache::queue());
        kernel_ext::task::synchronize_rcu_tasks();
    }
}
