// SPDX-License-Identifier: GPL-2.0

//! A cache with its objects, a worker of the queue, and what has to hold at the end.

use super::daemon::{daemon, Manner};
use crate::cache::object::Object;
use crate::cache::ondemand::deferred::{Deferred, End};
use crate::cache::ondemand::{Engine, State};
use crate::cache::{Cache, Pin};
use crate::data::extent::Hole;
use crate::notify::Notifier;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::uaccess::UserSliceWriter;
use kernel_ext::fs::PAGE;
use kernel_ext::polling::Polling;
use kernel_ext::sync::WaitQueue;
use shuttle::thread::JoinHandle;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;

/// Pages of a cache file.
pub(super) const PAGES: i64 = 8;

/// Before each execution.
pub(super) fn reset() {
    kernel_ext::anon_file::reset();
    kernel_ext::workqueue::reset();
    cachefiles_bindings::reset();
}

/// A bound cache, as the device's file has it.
pub(super) struct Inner {
    pub(super) pin: Arc<Pin>,
    waiters: Arc<WaitQueue>,
    notifier: Arc<Notifier>,
    pub(super) objects: Vec<Arc<Object>>,
    /// Objects that have been dropped, by name.
    dropped: Mutex<BTreeSet<Vec<u8>>>,
    dead: AtomicBool,
    /// Daemons are to end.
    stopped: AtomicBool,
    pollers: Mutex<Vec<std::sync::Arc<Polling>>>,
    /// What gives messages back to be read again: how often that began, and ended.
    given_back: Mutex<(u32, u32)>,
    /// `restore` was written: a message may be with two threads from then on.
    restored: AtomicBool,
    /// Requests have a time limit, or look-ups are given up: who drops an object may not have
    /// waited for its CLOSE.
    timed: AtomicBool,
    /// Messages that were read, and how often things had been given back before that.
    seen: Mutex<BTreeMap<u32, u32>>,
}

/// Shared by all tasks.
pub(super) type World = std::sync::Arc<Inner>;

/// A message that was read, with what was known when the read began.
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) dropped: BTreeSet<Vec<u8>>,
}

/// A world with so many objects, none of which any daemon knows, and a worker.
pub(super) fn world(objects: u32) -> (World, JoinHandle<()>) {
    let waiters = Arc::pin_init(WaitQueue::new(), GFP_KERNEL).unwrap();
    let notifier = Arc::new(Notifier::new(waiters.clone()), GFP_KERNEL).unwrap();
    let engine = Arc::pin_init(Engine::new(notifier.clone()), GFP_KERNEL).unwrap();
    let cache = Arc::new(Cache { engine }, GFP_KERNEL).unwrap();
    let world = std::sync::Arc::new(Inner {
        waiters,
        notifier,
        objects: (0..objects)
            .map(|number| Object::new(&cache, number, PAGES))
            .collect(),
        pin: Arc::new(Pin { cache }, GFP_KERNEL).unwrap(),
        dropped: Mutex::default(),
        dead: AtomicBool::new(false),
        stopped: AtomicBool::new(false),
        pollers: Mutex::default(),
        given_back: Mutex::default(),
        restored: AtomicBool::new(false),
        timed: AtomicBool::new(false),
        seen: Mutex::default(),
    });
    (world, shuttle::thread::spawn(kernel_ext::workqueue::work))
}

impl Inner {
    pub(super) fn engine(&self) -> &Engine {
        &self.pin.cache.engine
    }

    /// `read()` on the device.
    pub(super) fn read(&self, room: usize, faults: bool) -> Result<Option<Received>> {
        let dropped = self.dropped.lock().unwrap().clone();
        let (_, given_back) = *self.given_back.lock().unwrap();
        let (out, written) = UserSliceWriter::new(room, faults);
        let len = self.engine().read_message(&self.pin, out)?;
        let bytes = std::mem::take(&mut *written.lock().unwrap());
        assert_eq!(bytes.len(), len, "what was returned is what was copied");
        if let Some((id, _)) = bytes.split_first_chunk() {
            let id = u32::from_ne_bytes(*id);
            let before = self.seen.lock().unwrap().insert(id, given_back);
            let (begun, _) = *self.given_back.lock().unwrap();
            // Either of the two may have been the first.
            let first = before.map(|before| before.min(given_back));
            let twice = first == Some(begun) && !self.restored.load(Ordering::SeqCst);
            assert!(!twice, "message {id} was handed out twice");
        }
        Ok((len > 0).then_some(Received { bytes, dropped }))
    }

    /// `poll()` on the device.
    pub(super) fn is_readable(&self) -> bool {
        self.engine().has_ready()
    }

    /// A place in the device's wait queue.
    pub(super) fn poller(&self, exclusive: bool) -> std::sync::Arc<Polling> {
        let queue = &self.waiters;
        let poller = kernel_ext::polling::poll(queue, exclusive, kernel_ext::sync::poll::IN);
        let poller = std::sync::Arc::new(poller);
        self.pollers.lock().unwrap().push(poller.clone());
        poller
    }

    pub(super) fn is_dropped(&self, name: &[u8]) -> bool {
        self.dropped.lock().unwrap().contains(name)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Does what may give messages back.
    pub(super) fn giving_back<T>(&self, f: impl FnOnce() -> T) -> T {
        self.given_back.lock().unwrap().0 += 1;
        let result = f();
        self.given_back.lock().unwrap().1 += 1;
        result
    }

    /// `restore`
    pub(super) fn restore(&self) {
        self.restored.store(true, Ordering::SeqCst);
        self.engine().restore();
    }

    /// `timeout`
    pub(super) fn set_timeout(&self, seconds: u32) {
        self.timed.store(true, Ordering::SeqCst);
        Engine::set_timeout(&self.pin.cache.engine, seconds);
    }

    /// Objects are dropped whose CLOSE nobody waits for.
    pub(super) fn closes_late(&self) {
        self.timed.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_timed(&self) -> bool {
        self.timed.load(Ordering::SeqCst)
    }

    /// A reader: asks for one page. Errors as the engine gives them.
    pub(super) fn fetch(&self, object: usize, page: i64) -> Result<bool> {
        self.fetch_range(object, page, 1)
    }

    pub(super) fn fetch_range(&self, object: usize, page: i64, pages: i64) -> Result<bool> {
        let object = &self.objects[object];
        let file = object.file().unwrap();
        let (pos, end) = (page * PAGE, (page + pages) * PAGE);
        Ok(self
            .engine()
            .fetch(
                object.as_arc_borrow(),
                &file,
                Hole { start: pos, end },
                pos,
                None,
                None,
            )?
            .is_some())
    }

    /// Begins to read so many pages, and does not wait.
    pub(super) fn defer(&self, object: usize, page: i64, pages: i64) -> std::sync::Arc<End> {
        let range = Hole {
            start: page * PAGE,
            end: (page + pages) * PAGE,
        };
        Deferred::begin(&self.objects[object], range)
    }

    /// Asks for so many pages ahead of those who read, each by a READ.
    pub(super) fn read_ahead(&self, object: usize, page: i64, pages: i64) {
        self.read_ahead_in(object, page, pages, 1);
    }

    /// The same by READs of so many pages.
    pub(super) fn read_ahead_in(&self, object: usize, page: i64, pages: i64, unit: i64) {
        let range = Hole {
            start: page * PAGE,
            end: (page + pages) * PAGE,
        };
        let object = &self.objects[object];
        self.engine().read_ahead(object, range, unit * PAGE);
    }

    /// A page is there from the beginning.
    pub(super) fn fill(&self, object: usize, page: i64) {
        let file = self.objects[object].file().unwrap();
        file.fill(page * PAGE, PAGE as usize);
    }

    /// netfs puts an object away.
    pub(super) fn drop_object(&self, object: usize) {
        let object = &self.objects[object];
        self.engine().drop_object(object);
        object.gone.store(true, Ordering::SeqCst);
        let name = object.name().unwrap().to_vec();
        self.dropped.lock().unwrap().insert(name);
    }

    /// The device is closed, or the cache dies.
    pub(super) fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.engine().kill();
        self.notifier.wake_all();
    }

    /// Another daemon takes the cache over: those of before have ended.
    pub(super) fn revive(&self) {
        self.engine().revive();
        self.dead.store(false, Ordering::SeqCst);
    }

    /// Another daemon takes the cache over, which has lingered: the device of the one before is
    /// closed, but maybe not all of its fds.
    pub(super) fn hand_over(&self) {
        self.restored.store(true, Ordering::SeqCst);
        self.giving_back(|| self.engine().hand_over());
        self.dead.store(false, Ordering::SeqCst);
    }

    /// Lets the daemons end once there is nothing to read.
    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let pollers = self.pollers.lock().unwrap().clone();
        pollers.iter().for_each(|poller| poller.wake());
    }

    /// Waits for readers and the like, then for daemons and the worker, and looks around.
    pub(super) fn end<T>(
        self: std::sync::Arc<Self>,
        worker: JoinHandle<()>,
        daemons: impl IntoIterator<Item = JoinHandle<T>>,
        others: impl IntoIterator<Item = JoinHandle<()>>,
    ) {
        for other in others {
            other.join().unwrap();
        }
        self.stop();
        for daemon in daemons {
            daemon.join().unwrap();
        }
        kernel_ext::workqueue::stop();
        worker.join().unwrap();
        if self.is_readable() {
            // An OPEN may be left that nobody needs any more: the next daemon answers it.
            daemon(&self, 99, Manner::default()).join().unwrap();
        }

        assert_eq!(self.engine().ids_in_table(), [], "requests are left");
        let deferrals = self.engine().deferrals();
        assert_eq!(deferrals, 0, "reads are left for which nobody waits");
        assert!(!self.is_readable(), "the device is readable for ever");
        for object in &self.objects {
            let state = self.engine().state_of(object);
            let dropped = self.is_dropped(object.name().unwrap());
            match state {
                State::Close => assert!(!dropped),
                State::Dropping => assert!(dropped),
                State::Open => panic!("open, and nobody has an fd"),
                State::Reopening => {
                    assert!(self.dead.load(Ordering::SeqCst), "reopening for nobody")
                }
            }
            assert_eq!(Arc::count(object), 1, "somebody keeps an object");
            assert!(object.has_no_candidate(), "a look-up is left over");
        }
        assert_eq!(Arc::count(&self.pin), 1, "somebody keeps the cache bound");
    }
}
