// SPDX-License-Identifier: GPL-2.0

//! An object: a cookie, a file, and what the engine keeps of it.

use crate::cache::ondemand::ObjectState;
use crate::cache::Cache;
use crate::data::extent::{Extent, Hole};
use cachefiles_trace::RefWhy;
use fscache::{Cookie, Volume as Netfs};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::fs::{File, Whence};
use kernel_ext::xarray::Guarded;

/// A volume.
pub(crate) struct Volume(Netfs);

impl Volume {
    pub(crate) fn netfs(&self) -> &Netfs {
        &self.0
    }
}

/// Where a file has data: what it says itself.
pub(crate) struct DataMap;

impl DataMap {
    /// What is at `pos`, and up to where.
    pub(crate) fn extent_at(&self, file: &File, pos: i64, end: i64) -> Result<Extent> {
        match file.llseek(pos, Whence::Data) {
            Ok(data) if data == pos => Ok(Extent::Data(file.llseek(pos, Whence::Hole)?.min(end))),
            Ok(data) => Ok(Extent::Hole(data.min(end))),
            Err(error) if error == ENXIO => Ok(Extent::LastHole),
            Err(error) => Err(error),
        }
    }

    /// The first hole from `pos` to `end`.
    pub(crate) fn next_hole(&self, file: &File, mut pos: i64, end: i64) -> Result<Option<Hole>> {
        while pos < end {
            match self.extent_at(file, pos, end)? {
                Extent::Data(data_end) => pos = data_end,
                hole => return Ok(hole.hole_end(end).map(|end| Hole { start: pos, end })),
            }
        }
        Ok(None)
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

    pub(crate) fn data(&self) -> &DataMap {
        &DataMap
    }

    pub(crate) fn file(&self) -> Option<std::sync::Arc<File>> {
        Some(self.file.clone())
    }

    pub(crate) fn ondemand(&self) -> Result<&Guarded<ObjectState>> {
        Ok(&self.ondemand)
    }

    /// What is read in sequence is found out by another test.
    pub(crate) fn set_streamed(&self, _streamed: bool) {}

    pub(crate) fn trace_get(&self, _why: RefWhy) {}

    pub(crate) fn trace_put(&self, _why: RefWhy) {}
}
