// SPDX-License-Identifier: GPL-2.0

//! An object: a cookie, a file, and what the engine keeps of it.

use crate::cache::ondemand::ObjectState;
use crate::cache::Cache;
use cachefiles_trace::RefWhy;
use fscache::{Cookie, Volume as Netfs};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::fs::File;
use kernel_ext::xarray::Guarded;

/// A volume.
pub(crate) struct Volume(Netfs);

impl Volume {
    pub(crate) fn netfs(&self) -> &Netfs {
        &self.0
    }
}

/// An object.
pub(crate) struct Object {
    number: u32,
    name: Vec<u8>,
    cookie: Cookie,
    volume: Volume,
    cache: Arc<Cache>,
    file: std::sync::Arc<File>,
    ondemand: Guarded<ObjectState>,
}

impl Object {
    /// An object with a file of `pages` pages, all of them holes.
    pub(crate) fn new(cache: &Arc<Cache>, number: u32, pages: i64) -> Arc<Self> {
        let name = format!("blob{number}").into_bytes();
        let object = Self {
            number,
            cookie: Cookie::new(&name),
            name,
            volume: Volume(Netfs::new()),
            cache: cache.clone(),
            file: std::sync::Arc::new(File::new(pages)),
            ondemand: cache.engine.new_object_state(),
        };
        Arc::new(object, GFP_KERNEL).unwrap()
    }

    pub(crate) fn debug_id(&self) -> u32 {
        self.number
    }

    pub(crate) fn name(&self) -> Result<&[u8]> {
        Ok(&self.name)
    }

    pub(crate) fn cookie(&self) -> &Cookie {
        &self.cookie
    }

    pub(crate) fn volume(&self) -> &Volume {
        &self.volume
    }

    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    pub(crate) fn file(&self) -> Option<std::sync::Arc<File>> {
        Some(self.file.clone())
    }

    pub(crate) fn ondemand(&self) -> Result<&Guarded<ObjectState>> {
        Ok(&self.ondemand)
    }

    pub(crate) fn note_get(&self, _why: RefWhy) {}

    pub(crate) fn note_put(&self, _why: RefWhy) {}
}
