// SPDX-License-Identifier: GPL-2.0

//! The engine of one cache: the request table with its lock, and tasks that wait.
//!
//! One lock, that of the xarray, protects the table and the daemon's side of every object. Under
//! it nothing sleeps, completes a request or drops one: that comes after.

use super::ahead::Readahead;
use super::entry::{Entry, Kind};
use super::request::{Request, RequestGuard, RequestNode, RequestSlots, RequestTable};
use super::state::ObjectState;
use super::table::{Consequence, Refused, Table};
use super::windows::Windows;
use crate::cache::object::Object;
use crate::notify::Notifier;
use cachefiles_trace as trace;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use kernel::c_str;
use kernel::prelude::*;
use kernel::static_lock_class;
use kernel::sync::{Arc, ArcBorrow, UniqueArc};
use kernel_ext::delayed_work::DelayedWork;
use kernel_ext::errno::EALREADY;
use kernel_ext::gfp::Gfp;
use kernel_ext::ids::CyclicIds;
use kernel_ext::xarray::{new_locked_xarray, Guarded, Registry};

/// The on-demand engine.
#[pin_data]
pub(crate) struct Engine {
    #[pin]
    pub(super) table: RequestTable,
    /// Numbers anonymous fds: the object ids that the daemon sees.
    #[pin]
    pub(super) fd_ids: CyclicIds,
    /// The objects of all anonymous fds that are open, by the numbers of these.
    #[pin]
    pub(super) fds: Registry<Object>,
    pub(super) notifier: Arc<Notifier>,
    #[pin]
    pub(super) clock: DelayedWork<Engine>,
    /// As in the table, for readers without its lock.
    dead: AtomicBool,
    /// Reads for which nobody waits.
    pub(super) deferrals: AtomicU32,
    #[pin]
    pub(super) readahead: Readahead,
    #[pin]
    pub(super) windows: Windows,
}

/// A request that is waited for.
pub(super) struct Waiting {
    pub(super) id: u32,
    pub(super) node: Arc<RequestNode>,
}

impl Engine {
    pub(crate) fn new(notifier: Arc<Notifier>) -> impl PinInit<Self> {
        pin_init!(Self {
            table <- new_locked_xarray!(Table::new(), "cachefiles_requests"),
            fd_ids <- CyclicIds::new(),
            fds <- Registry::new(c_str!("cachefiles_fds"), static_lock_class!()),
            notifier,
            clock <- DelayedWork::new(static_lock_class!()),
            dead: AtomicBool::new(false),
            deferrals: AtomicU32::new(0),
            readahead <- Readahead::new(),
            windows <- Windows::new(),
        })
    }

    /// Makes the state of a new object of this cache.
    pub(crate) fn new_object_state(&self) -> Guarded<ObjectState> {
        Guarded::new(&self.table, ObjectState::new())
    }

    /// Returns whether the daemon's next read would return something.
    pub(crate) fn has_ready(&self) -> bool {
        self.table.has_mark(super::request::READY)
    }

    /// Runs `f` on the table and the state of one object, both locked.
    pub(super) fn with<R>(
        &self,
        object: &Object,
        f: impl FnOnce(&mut RequestSlots<'_>, &mut Table, &mut ObjectState) -> R,
    ) -> Result<R> {
        Self::with_guard(&mut self.table.lock(), object, f)
    }

    pub(super) fn with_guard<R>(
        guard: &mut RequestGuard<'_>,
        object: &Object,
        f: impl FnOnce(&mut RequestSlots<'_>, &mut Table, &mut ObjectState) -> R,
    ) -> Result<R> {
        let (mut slots, table, state) = guard.with(object.ondemand()?)?;
        Ok(f(&mut slots, table, state))
    }

    /// Does what an event calls for, after the lock is dropped.
    #[inline]
    pub(super) fn follow_up(&self, object: ArcBorrow<'_, Object>, consequence: Consequence) {
        self.notifier.requests_ready(consequence.ready);
        if consequence.reopen {
            super::reopen::queue(object);
        }
        if consequence.sweep {
            self.sweep(&object);
        }
    }

    /// Checks that the daemon can be asked for an object.
    ///
    /// Error: EINVAL netfs does not leave its size to the daemon.
    pub(crate) fn check_may_open(&self, object: &Object) -> Result {
        if !object.cookie().wants_cache_size() {
            kernel_ext::log::error!("On-demand mode needs objects whose size the daemon may set");
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Asks the daemon for an object that is looked up. Its answer goes to [`Object::opened`].
    ///
    /// Errors: EIO the cache is dead or the object goes away; ENOMEM; EBUSY the table is full.
    pub(crate) fn open(&self, object: &Arc<Object>) -> Result {
        self.submit(object.as_arc_borrow(), Kind::Open).map(drop)
    }

    /// Takes an object away from the daemon: sends the CLOSE, and waits until it is read, the fd is
    /// closed, or its time is over; then fails what is left, and sees that no reopen is under way.
    ///
    /// Does not wait for the CLOSE of an object whose look-up was given up: as many may be as there
    /// are mounts that were killed, and each would take a worker until the daemon goes on.
    pub(crate) fn drop_object(&self, object: &Arc<Object>) {
        let waiters = u16::from(!object.is_being_looked_up());
        let fd = self.with(object, |_, _, state| state.leave());
        // In front of the CLOSE, or the daemon would be at these first.
        self.take_back_ahead(object);
        if let Ok(Some(fd)) = fd {
            self.tell_closed(object, fd, waiters);
        }
        let left = self.with(object, |_, table, state| {
            table.drop_object(state);
            state.first.id()
        });
        if let Ok(Some(_)) = left {
            self.fail_requests(object, EIO, |slots, state| Table::next_left(slots, state));
        }
        // Before the work is waited for: one that comes later finds nothing to go on with.
        object.abandon_look_up();
        kernel_ext::workqueue::cancel_work_sync(object);
    }

    /// Sends the CLOSE, and waits until it is read or the fd is closed, unless `waiters` is 0.
    fn tell_closed(&self, object: &Arc<Object>, fd: NonZeroU32, waiters: u16) {
        loop {
            match self.submit_for(object.as_arc_borrow(), Kind::Close(fd), waiters) {
                Ok(waiting) if waiters != 0 => {
                    // Dead, or closed in the meantime: either way the daemon has no fd any more.
                    let _ = self.wait(waiting);
                    return;
                }
                Ok(_) => return,
                // There is no other time to tell the daemon, and an fd that it keeps for ever keeps
                // object and cookie, for which the next mount would wait. There will be memory
                // again.
                Err(error) if error == ENOMEM || error == EBUSY => kernel_ext::task::sleep(1),
                Err(_) => return,
            }
        }
    }

    /// Ends the engine, as the cache died: no request is taken any more, and those in the table
    /// fail with EIO.
    pub(crate) fn kill(&self) {
        {
            let mut guard = self.table.lock();
            guard.data().kill();
            self.dead.store(true, Ordering::Release);
        }
        self.fail_all();
    }

    /// Returns whether it is dead at this moment. Takes no lock.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Begins again with another daemon: requests are taken. Those of before are gone, as are the
    /// fds.
    pub(crate) fn revive(&self) {
        self.fail_all();
        let mut guard = self.table.lock();
        guard.data().revive();
        self.dead.store(false, Ordering::Release);
    }

    /// Fails what is in the table, while that is dead.
    fn fail_all(&self) {
        while let Some(node) = self.take_any() {
            node.shared().complete(Err(EIO));
        }
    }

    fn take_any(&self) -> Option<Arc<RequestNode>> {
        let mut guard = self.table.lock();
        let (id, object) = {
            let (mut slots, table) = guard.slots();
            if !table.is_dead() {
                return None;
            }
            let first = slots.at_or_behind(0)?;
            (first.id(), first.shared().object.clone())
        };
        let node = Self::take(&mut guard, &object, id);
        drop(guard);
        drop(object);
        node
    }

    /// Takes a request out of its object's chain and its slot, for the caller to complete.
    pub(super) fn take(
        guard: &mut RequestGuard<'_>,
        object: &Object,
        id: u32,
    ) -> Option<Arc<RequestNode>> {
        Self::with_guard(guard, object, |slots, table, state| {
            table.take_out(slots, state, id);
            slots.remove(id)
        })
        .ok()
        .flatten()
    }

    /// Fails, one by one, the object's requests that `next` names.
    pub(super) fn fail_requests(
        &self,
        object: &Arc<Object>,
        error: Error,
        next: impl Fn(&mut RequestSlots<'_>, &ObjectState) -> Option<u32>,
    ) {
        self.finish_requests(object, Err(error), next);
    }

    pub(super) fn finish_requests(
        &self,
        object: &Arc<Object>,
        outcome: Result,
        next: impl Fn(&mut RequestSlots<'_>, &ObjectState) -> Option<u32>,
    ) {
        loop {
            let node = self.with(object, |slots, table, state| {
                let id = next(slots, state)?;
                table.take_out(slots, state, id);
                slots.remove(id)
            });
            match node {
                Ok(Some(node)) => node.shared().complete(outcome),
                _ => return,
            }
        }
    }

    /// Makes a request and puts it into the table. Errors: EIO the cache is dead, the object goes
    /// away or is not open; EALREADY an OPEN that is not wanted; ENOMEM; EBUSY the table is full.
    pub(super) fn submit(&self, object: ArcBorrow<'_, Object>, kind: Kind) -> Result<Waiting> {
        self.submit_for(object, kind, 1)
    }

    /// The same, for so many who wait for it.
    fn submit_for(
        &self,
        object: ArcBorrow<'_, Object>,
        kind: Kind,
        waiters: u16,
    ) -> Result<Waiting> {
        let node = new_node(object, Entry::new(kind, waiters))?;
        self.enter(self.table.lock(), object, node, kind)
    }

    /// Enters a request into the table. The lock may be dropped in between, where it takes memory
    /// to store the node.
    ///
    /// Inlined, as one of its two callers is where every read that misses comes by.
    #[inline(always)]
    pub(super) fn enter(
        &self,
        mut guard: RequestGuard<'_>,
        object: ArcBorrow<'_, Object>,
        node: Pin<UniqueArc<RequestNode>>,
        kind: Kind,
    ) -> Result<Waiting> {
        let cell = object.ondemand()?;
        let (id, node, admitted, object_id) = match guard.insert_cyclic(node, Gfp::Kernel) {
            Ok(mut inserted) => {
                let id = inserted.id();
                let admitted = inserted.with(cell).map(|(entry, table, state)| {
                    let object_id = state.fd().map_or(0, |fd| fd.get());
                    (table.admit(entry, state, id), object_id)
                });
                let (id, node) = inserted.into_parts();
                let (admitted, object_id) = match admitted {
                    Ok(admitted) => admitted,
                    // The object is of another cache.
                    Err(_) => (Err(Refused::Gone), 0),
                };
                (id, node, admitted, object_id)
            }
            Err((error, node)) => {
                drop(guard);
                drop(node);
                return Err(error);
            }
        };
        let (mut slots, table) = guard.slots();
        let consequence = match admitted {
            Ok(admitted) => {
                if table.timeout() != 0 {
                    Self::start_timeout_of(&object, table);
                }
                admitted.enter(&mut slots)
            }
            Err(refused) => {
                let removed = slots.remove(id);
                drop(guard);
                drop((removed, node));
                return Err(match refused {
                    Refused::Gone | Refused::NotOpen => EIO,
                    Refused::NotNeeded => EALREADY,
                });
            }
        };
        drop(guard);
        match kind {
            Kind::Read { off, len } => {
                trace::ondemand_read(object.debug_id(), id, object_id, off, len)
            }
            Kind::Close(fd) => trace::ondemand_close(object.debug_id(), id, fd.get()),
            Kind::Open => {}
        }
        self.follow_up(object, consequence);
        Ok(Waiting { id, node })
    }

    /// Waits for the answer. A killed task leaves, and takes the request with it if nobody else
    /// waits for it. Error EINTR, or that of the request.
    #[inline(always)]
    pub(super) fn wait(&self, waiting: Waiting) -> Result {
        match waiting.node.shared().wait() {
            Some(outcome) => outcome,
            None => self.leave(waiting),
        }
    }

    #[cold]
    fn leave(&self, Waiting { id, node }: Waiting) -> Result {
        let object = &node.shared().object;
        let left = self.with(object, |slots, table, state| {
            // The id may have been answered, and given to another request, in the meantime.
            let mut at = slots.at(id)?;
            if !Arc::ptr_eq(&at.node().into(), &node) || !Table::leave(at.locked(), state) {
                return None;
            }
            table.take_out(slots, state, id);
            slots.remove(id)
        });
        drop(left);
        Err(EINTR)
    }
}

#[inline]
pub(super) fn new_node(
    object: ArcBorrow<'_, Object>,
    entry: Entry,
) -> Result<Pin<UniqueArc<RequestNode>>> {
    UniqueArc::pin_init(
        RequestNode::new(Request::new(object.into(), entry.kind == Kind::Open), entry),
        GFP_KERNEL,
    )
}
