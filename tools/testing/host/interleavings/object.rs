// SPDX-License-Identifier: GPL-2.0

//! An object: a cookie, a file, what the engine keeps of it, and its look-up.

#[path = "../../../../fs/cachefiles/cache/object/pending.rs"]
mod pending;

use self::pending::PendingLookup;
use crate::cache::ondemand::{reopen, Engine, ObjectState};
use crate::cache::Cache;
use crate::data::extent::{Extent, Hole};
use cachefiles_trace::RefWhy;
use fscache::{Cookie, Volume as Netfs};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::errno::EALREADY;
use kernel_ext::fs::{File, Whence};
use kernel_ext::sync::Completion;
use kernel_ext::xarray::Guarded;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Mutex;

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
    /// Those who wait for the answer to an OPEN.
    openers: Mutex<Vec<Arc<Opener>>>,
    pub(crate) lookup: Arc<PendingLookup<Candidate>>,
    /// Candidates that are neither the object's file nor dropped.
    candidates: std::sync::Arc<AtomicU32>,
    /// The look-up has succeeded.
    pub(crate) found: AtomicBool,
    /// It is being dropped, and no work of it runs any more.
    pub(crate) gone: AtomicBool,
}

/// Who waits for the answer to an OPEN, as the end of a look-up is waited for in the module.
struct Opener {
    answered: Arc<Completion>,
    outcome: Mutex<Result>,
}

/// What a look-up has found.
pub(crate) struct Candidate(std::sync::Arc<AtomicU32>);

impl Candidate {
    fn new(count: &std::sync::Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
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
            openers: Mutex::default(),
            lookup: Arc::pin_init(PendingLookup::new(), GFP_KERNEL).unwrap(),
            candidates: std::sync::Arc::default(),
            found: AtomicBool::new(false),
            gone: AtomicBool::new(false),
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

    pub(crate) fn engine(&self) -> Option<&Engine> {
        self.cache().ondemand()
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

    /// Has the object opened, and waits for the answer. Error: EBUSY it is open, or being opened.
    pub(crate) fn open(object: &Arc<Self>) -> Result {
        let opener = Opener {
            answered: Arc::pin_init(Completion::new(), GFP_KERNEL)?,
            outcome: Mutex::new(Ok(())),
        };
        let opener = Arc::new(opener, GFP_KERNEL)?;
        object.openers.lock().unwrap().push(opener.clone());
        if let Err(error) = object.cache.engine.open(object) {
            let mut openers = object.openers.lock().unwrap();
            openers.retain(|other| !Arc::ptr_eq(other, &opener));
            return Err(if error == EALREADY { EBUSY } else { error });
        }
        opener.answered.wait_killable()?;
        let outcome = *opener.outcome.lock().unwrap();
        outcome
    }

    /// Looks the object up, as the module does it.
    pub(crate) fn look_up(object: &Arc<Self>) -> Result {
        let lookup = &object.lookup;
        lookup.begin(Candidate::new(&object.candidates))?;
        object.cache.engine.open(object).inspect_err(|_| {
            drop(lookup.abandon());
            lookup.end();
        })
    }

    pub(crate) fn opened(object: &Arc<Self>, outcome: Result) {
        let openers = std::mem::take(&mut *object.openers.lock().unwrap());
        for opener in openers {
            *opener.outcome.lock().unwrap() = outcome;
            opener.answered.complete_all();
        }
        if object.lookup.answered(outcome) {
            reopen::queue(object.as_arc_borrow());
        }
    }

    pub(crate) fn go_on_looking_up(object: &Arc<Self>) {
        if let Some((candidate, outcome)) = object.lookup.take() {
            kernel_ext::task::cond_resched();
            assert!(
                !object.gone.load(Ordering::SeqCst),
                "looked up while it goes"
            );
            assert!(!object.found.swap(outcome.is_ok(), Ordering::SeqCst));
            drop(candidate);
            object.lookup.end();
        }
    }

    pub(crate) fn is_being_looked_up(&self) -> bool {
        self.lookup.is_pending()
    }

    pub(crate) fn abandon_look_up(&self) {
        drop(self.lookup.abandon());
    }

    /// Returns whether nothing is left of what was found, but in the object.
    pub(crate) fn has_no_candidate(&self) -> bool {
        self.candidates.load(Ordering::SeqCst) == 0
    }
}
