// SPDX-License-Identifier: GPL-2.0

//! An object: what netfs caches under one cookie, and the file that holds it.

pub(crate) mod commit;
mod create;
pub(crate) mod invalidate;
pub(crate) mod lookup;
mod pending;
pub(crate) mod read;
pub(crate) mod resize;
pub(crate) mod write;

use self::lookup::Candidate;
use self::pending::PendingLookup;
use crate::cache::ondemand::{reopen, Engine, ObjectState};
use crate::cache::volume::Volume;
use crate::cache::Cache;
use crate::data::DataMap;
use crate::format::key::{self, Encoding};
use cachefiles_trace::{self as trace, RefWhy};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use fscache::{Cookie, CookieRef, ObjectCount};
use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};
use kernel::types::ARef;
use kernel::workqueue::{impl_has_work, new_work, Work};
use kernel_ext::fs::File;
use kernel_ext::xarray::Guarded;

/// Numbers objects, for the trace.
static LAST_DEBUG_ID: AtomicU32 = AtomicU32::new(0);

/// The name of an object's file. Objects do not keep it, as it is needed to find the file and to
/// give it its name, and follows from the cookie's key.
pub(crate) enum FileName {
    /// Most names: on the stack.
    Short {
        len: u8,
        buf: [u8; FileName::SHORT],
    },
    Long(KVec<u8>),
}

impl FileName {
    const SHORT: usize = 62;

    /// Writes the name. Error: ENOMEM.
    fn new(encoding: &Encoding<'_>) -> Result<Self> {
        if let (Ok(len), true) = (u8::try_from(encoding.len()), encoding.len() <= Self::SHORT) {
            let mut buf = [0; Self::SHORT];
            encoding.write(buf.get_mut(..encoding.len()).unwrap_or(&mut []));
            return Ok(Self::Short { len, buf });
        }
        let mut name = KVec::from_elem(0, encoding.len(), GFP_KERNEL)?;
        encoding.write(&mut name);
        Ok(Self::Long(name))
    }
}

impl core::ops::Deref for FileName {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short { len, buf } => buf.get(..usize::from(*len)).unwrap_or(&[]),
            Self::Long(name) => name,
        }
    }
}

/// An object. Held by its cookie, by I/O on its way, by requests and anonymous fds.
#[pin_data]
pub(crate) struct Object {
    debug_id: u32,
    /// References as the trace counts them: those that are traced, not every `Arc`.
    usage: AtomicI32,
    /// Goes before the cookie: that may be what keeps netfs' volume, and a new one of the same name
    /// must not find our directory in use any more.
    volume: Arc<Volume>,
    cookie: CookieRef,
    /// The file, and where it has data.
    #[pin]
    data: DataMap,
    /// Its look-up, while the daemon is asked for it.
    #[pin]
    pub(crate) lookup: PendingLookup<Candidate>,
    /// The file has no name yet.
    tmpfile: AtomicBool,
    /// It could not be looked up, and netfs was not told so.
    missing: AtomicBool,
    /// The attribute of the file says on the disk that it is dirty.
    marked_dirty: AtomicBool,
    /// It is read in sequence, with READs ahead: see `ondemand::Engine::note_read`.
    streamed: AtomicBool,
    /// What the daemon has of it; protected by the lock of the request table. `None` if its owner
    /// has the data itself: in the original mode, and for a network file system in a mixed cache.
    ondemand: Option<Guarded<ObjectState>>,
    /// Opens it again, and goes on with its look-up: what the daemon brings about, and must not
    /// wait for.
    #[pin]
    work: Work<Object>,
    /// Goes last: when it does, the cache may go as well.
    _count: ObjectCount,
}

impl_has_work! {
    impl HasWork<Self> for Object { self.work }
}

impl Object {
    /// Makes an object without a file. Errors: ENOMEM; EINVAL for a key that no file can be named
    /// after.
    pub(crate) fn new(volume: &Arc<Volume>, cookie: &Cookie) -> Result<Arc<Self>> {
        if cookie.key().len() > key::MAX_KEY_LEN {
            return Err(EINVAL);
        }
        let cache = volume.cache();
        let remembers_data = cache.backing.space.blocks_tell_loss();
        let debug_id = LAST_DEBUG_ID
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1);
        let object = Arc::pin_init(
            pin_init!(Self {
                debug_id,
                usage: AtomicI32::new(1),
                volume: volume.clone(),
                cookie: cookie.get(),
                data <- DataMap::new(remembers_data),
                lookup <- PendingLookup::new(),
                tmpfile: AtomicBool::new(false),
                missing: AtomicBool::new(false),
                marked_dirty: AtomicBool::new(false),
                streamed: AtomicBool::new(false),
                ondemand: cache.engine_for(cookie).map(Engine::new_object_state),
                work <- new_work!("cachefiles_object"),
                _count: cache.fscache.count_object(),
            }),
            GFP_KERNEL,
        )?;
        trace::ref_(debug_id, cookie.debug_id(), 1, RefWhy::New);
        Ok(object)
    }

    pub(crate) fn debug_id(&self) -> u32 {
        self.debug_id
    }

    /// Computes the name of its file. Error: ENOMEM.
    pub(crate) fn name(&self) -> Result<FileName> {
        FileName::new(&key::encode(self.cookie.key()).ok_or(EINVAL)?)
    }

    pub(crate) fn cookie(&self) -> &Cookie {
        &self.cookie
    }

    pub(crate) fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    pub(crate) fn cache(&self) -> &Arc<Cache> {
        self.volume.cache()
    }

    /// Returns its file and where that has data.
    #[inline]
    pub(crate) fn data(&self) -> &DataMap {
        &self.data
    }

    /// Returns its file, if there is one at the moment that may be used.
    pub(crate) fn file(&self) -> Option<ARef<File>> {
        self.data.file()
    }

    /// Returns the engine that is asked for what is missing of it. `None` if its owner has the data
    /// itself.
    #[inline]
    pub(crate) fn engine(&self) -> Option<&Engine> {
        self.ondemand.as_ref().and(self.cache().ondemand())
    }

    /// Returns whether a daemon fetches its data.
    #[inline]
    pub(crate) fn is_ondemand(&self) -> bool {
        self.ondemand.is_some()
    }

    /// Returns the daemon's side of it. Error: EINVAL its owner has the data itself.
    pub(crate) fn ondemand(&self) -> Result<&Guarded<ObjectState>> {
        self.ondemand.as_ref().ok_or(EINVAL)
    }

    /// Takes note of the answer to an OPEN: the look-up that waits for it, if any, goes on.
    pub(crate) fn opened(object: &Arc<Self>, outcome: Result) {
        if object.lookup.answered(outcome) {
            reopen::queue(object.as_arc_borrow());
        }
    }

    /// Goes on with the look-up if the daemon has answered.
    pub(crate) fn go_on_looking_up(object: &Arc<Self>) {
        lookup::go_on(object);
    }

    /// Returns whether the daemon is asked for it by a look-up that has not ended.
    pub(crate) fn is_being_looked_up(&self) -> bool {
        self.lookup.is_pending()
    }

    /// Gives up the look-up that waits for the daemon, if there is one: the object goes away.
    pub(crate) fn abandon_look_up(&self) {
        self.cache().secure(|| drop(self.lookup.abandon()));
    }

    pub(crate) fn is_tmpfile(&self) -> bool {
        self.tmpfile.load(Ordering::Acquire)
    }

    pub(crate) fn set_tmpfile(&self, tmpfile: bool) {
        self.tmpfile.store(tmpfile, Ordering::Release);
    }

    /// Notes that its look-up failed, and that all operations on it are to fail for that.
    pub(crate) fn set_missing(&self) {
        self.missing.store(true, Ordering::Release);
    }

    /// Returns whether all operations on it are to fail.
    pub(crate) fn is_missing(&self) -> bool {
        self.missing.load(Ordering::Acquire)
    }

    /// Returns whether a power cut from now on leaves a file that says that it is dirty.
    pub(crate) fn is_marked_dirty(&self) -> bool {
        self.marked_dirty.load(Ordering::Acquire)
    }

    /// Notes that a power cut leaves a file that says so. It stays so until the object is
    /// withdrawn: a file that takes the place of this one has no name until then.
    pub(crate) fn set_marked_dirty(&self) {
        self.marked_dirty.store(true, Ordering::Release);
    }

    /// Returns whether the engine is to be told of reads that find all in the cache.
    #[inline]
    pub(crate) fn is_streamed(&self) -> bool {
        self.streamed.load(Ordering::Relaxed)
    }

    /// Says whether the engine is to be told of them.
    pub(crate) fn set_streamed(&self, streamed: bool) {
        self.streamed.store(streamed, Ordering::Relaxed);
    }

    /// Traces that the object came by.
    pub(crate) fn trace_ref(&self, why: RefWhy) {
        let usage = self.usage.load(Ordering::Relaxed);
        trace::ref_(self.debug_id, self.cookie.debug_id(), usage, why);
    }

    /// Counts and traces a reference.
    pub(crate) fn trace_get(&self, why: RefWhy) {
        let usage = self.usage.fetch_add(1, Ordering::Relaxed);
        trace::ref_(self.debug_id, self.cookie.debug_id(), usage, why);
    }

    /// Counts and traces the end of a reference.
    pub(crate) fn trace_put(&self, why: RefWhy) {
        let usage = self.usage.fetch_sub(1, Ordering::Relaxed);
        trace::ref_(self.debug_id, self.cookie.debug_id(), usage, why);
    }

    /// Logs an error with the object's file: see [`Cache::file_error`].
    pub(crate) fn file_error(&self, error: Error, what: &str) {
        self.cache()
            .file_error(error, format_args!("{what} [o={:08x}]", self.debug_id));
    }
}

/// The traced reference of an I/O on its way.
pub(crate) struct IoRef(Arc<Object>);

impl IoRef {
    pub(crate) fn new(object: ArcBorrow<'_, Object>) -> Self {
        object.trace_get(RefWhy::GetIoreq);
        Self(object.into())
    }
}

impl core::ops::Deref for IoRef {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.0
    }
}

impl Drop for IoRef {
    fn drop(&mut self) {
        self.0.trace_put(RefWhy::PutIoreq);
    }
}
