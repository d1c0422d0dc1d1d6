// SPDX-License-Identifier: GPL-2.0

//! What the daemon says to requests: `copen`, `cread`, `cfail`, `restore`, and closing an fd.

use super::engine::Engine;
use super::entry::Kind;
use super::opening::Closer;
use super::reads_ahead::AHEAD_WINDOW;
use super::request::{is_read_of, RequestGuard};
use super::state::{AfterRefusal, ObjectState, State};
use super::table::Table;
use super::BATCH;
use crate::cache::object::Object;
use crate::format::command::MAX_ERRNO;
use cachefiles_trace as trace;
use core::num::NonZeroU32;
use fscache::CookieFlag;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::errno::EBADFD;
use kernel_ext::params::reopen_tries;

/// The largest errno that is for programs: those behind it mean something to the kernel alone.
const MAX_USER_ERRNO: i32 = 511;

impl Engine {
    /// Executes `copen ID,SIZE`: the daemon accepts an object, or refuses it with a negative errno
    /// for a size.
    ///
    /// Errors: EINVAL no OPEN with this id is in the daemon's hands, or the size is no errno;
    /// those of `size` itself. The OPEN fails, too, when the size is at fault.
    pub(crate) fn copen(&self, id: u64, size: Result<i64>) -> Result {
        let id = u32::try_from(id).map_err(|_| EINVAL)?;
        let mut guard = self.table.lock();
        let object = {
            let (mut slots, _) = guard.slots();
            let mut at = slots.at(id).ok_or(EINVAL)?;
            if !Table::may_answer_open(at.locked()) {
                return Err(EINVAL);
            }
            at.shared().object.clone()
        };
        match size {
            Ok(size @ 0..) => self.accept(guard, &object, id, size),
            Ok(size) if size >= -MAX_ERRNO => {
                self.refuse(guard, &object, id, kernel_ext::errno::error(size as i32))
            }
            Ok(_) => {
                self.refuse(guard, &object, id, EINVAL)?;
                Err(EINVAL)
            }
            Err(error) => {
                self.refuse(guard, &object, id, error)?;
                Err(error)
            }
        }
    }

    /// Accepts an object. The size is set before any read can be handed out. Where the fd was
    /// closed already, the OPEN fails with EBADFD, and the daemon is not told: it knows. Error:
    /// EINVAL it has read the CLOSE of the object, maybe in a thread that did not know this fd yet.
    fn accept(
        &self,
        mut guard: RequestGuard<'_>,
        object: &Arc<Object>,
        id: u32,
        size: i64,
    ) -> Result {
        let accepted = Self::with_guard(&mut guard, object, |slots, table, state| {
            let consequence = table.accept_open(slots, state, id)?;
            let cookie = object.cookie();
            cookie.set_object_size(size.unsigned_abs());
            if size == 0 {
                cookie.set_flag(CookieFlag::NoDataToRead);
            } else {
                cookie.clear_flag(CookieFlag::NoDataToRead);
            }
            Some((consequence, slots.remove(id)))
        })?;
        let Some((consequence, node)) = accepted else {
            let dropped = |state: &ObjectState| state.state() == State::Dropping;
            let late = Self::with_guard(&mut guard, object, |_, _, state| dropped(state))?;
            self.refuse(guard, object, id, EBADFD)?;
            return if late { Err(EINVAL) } else { Ok(()) };
        };
        drop(guard);
        trace::ondemand_copen(object.debug_id(), id, size);
        self.follow_up(object.as_arc_borrow(), consequence);
        if let Some(node) = node {
            node.shared().complete(Ok(()));
        }
        Ok(())
    }

    /// Ends an OPEN that failed: its waiter is told, and so are, after the last try, the reads that
    /// wait for a reopen.
    pub(super) fn refuse(
        &self,
        mut guard: RequestGuard<'_>,
        object: &Arc<Object>,
        id: u32,
        error: Error,
    ) -> Result {
        let (after, node, closes) = Self::with_guard(&mut guard, object, |slots, table, state| {
            let after = table.refuse_open(slots, state, Some(id), reopen_tries());
            (after, slots.remove(id), state.has_close())
        })?;
        drop(guard);
        if let Some(node) = node {
            node.shared().complete(Err(error));
        }
        if closes {
            self.finish_stale_closes(object);
        }
        self.after_refusal(object, after);
        Ok(())
    }

    /// Ends the CLOSEs of an fd that the daemon no longer has.
    pub(super) fn finish_stale_closes(&self, object: &Arc<Object>) {
        self.finish_requests(object, Ok(()), |slots, state| {
            Table::next_stale_close(slots, state)
        });
    }

    pub(super) fn after_refusal(&self, object: &Arc<Object>, after: AfterRefusal) {
        match after {
            AfterRefusal::Nothing => {}
            AfterRefusal::TryAgain => super::reopen::queue(object.as_arc_borrow()),
            AfterRefusal::FailReads => {
                if let Ok(name) = object.name() {
                    kernel_ext::log::error!(
                        "The daemon does not open {} again: its readers get an I/O error",
                        name.escape_ascii()
                    );
                }
                // A read that comes now begins a reopen of its own, which the others then await.
                self.fail_requests(object, EIO, |slots, state| {
                    (state.state() == State::Close)
                        .then(|| Table::next_read(slots, state))
                        .flatten()
                });
            }
        }
    }

    /// Completes the READ `id` of this object, by its anonymous fd `fd`. Error: EINVAL there is no
    /// such READ, or the fd is one that a daemon before has left to others.
    #[inline]
    pub(super) fn cread(&self, object: &Arc<Object>, fd: NonZeroU32, id: u32) -> Result {
        let node = self.with(object, |slots, table, state| {
            if state.fd() != Some(fd) {
                return None;
            }
            let mut at = slots.at(id)?;
            let is_ours = Arc::ptr_eq(&at.shared().object, object);
            if !is_ours || !matches!(at.locked().kind, Kind::Read { .. }) {
                return None;
            }
            let gap = table.take_out_at(&mut at, state);
            if let Some(gap) = gap {
                gap.close(slots);
            }
            slots.remove(id)
        })?;
        let node = node.ok_or(EINVAL)?;
        trace::ondemand_cread(object.debug_id(), id);
        node.shared().complete(Ok(()));
        Ok(())
    }

    /// Executes `cfail ID,ERRNO`: the daemon cannot serve a READ. All that wait for it get the
    /// errno; EIO where it is one that programs do not get to see.
    ///
    /// What the READ has become since it was read does not matter: its fd may be closed, and it on
    /// its way to be handed out again. Error: EINVAL no READ with this id was read and not
    /// answered.
    pub(crate) fn cfail(&self, id: u64, errno: i32) -> Result {
        let id = u32::try_from(id).map_err(|_| EINVAL)?;
        let mut guard = self.table.lock();
        let object = {
            let (mut slots, _) = guard.slots();
            let mut at = slots.at(id).ok_or(EINVAL)?;
            if !Table::may_fail_read(at.locked()) {
                return Err(EINVAL);
            }
            at.shared().object.clone()
        };
        let node = Self::take(&mut guard, &object, id);
        drop(guard);
        let error = if errno >= -MAX_USER_ERRNO {
            kernel_ext::errno::error(errno)
        } else {
            EIO
        };
        if let Some(node) = node {
            node.shared().complete(Err(error));
        }
        Ok(())
    }

    /// Tells the object's READs that it is open now, or is not any more.
    ///
    /// Drops the lock after every batch, however many READs there are.
    #[cold]
    pub(super) fn sweep(&self, object: &Object) {
        let mut from = None;
        loop {
            let swept = self.with(object, |slots, _, state| {
                // Where it has gone meanwhile, all are told once more.
                let from = from.filter(|&id| is_read_of(slots, object, id));
                Table::sweep(slots, state, from, BATCH)
            });
            let Ok(swept) = swept else { return };
            self.notifier.requests_ready(swept.ready);
            if swept.next.is_none() {
                return;
            }
            from = swept.next;
            kernel_ext::task::cond_resched();
        }
    }

    /// Executes `restore`: what was handed out and not answered is handed out again.
    ///
    /// Drops the lock after every batch: `restore` must not stop the world.
    pub(crate) fn restore(&self) {
        let mut from = Some(0);
        while let Some(id) = from {
            from = self.table.lock().for_each(id, BATCH, |at, states| {
                if let Some(state) = at.shared().state(states) {
                    Table::restore(at, state);
                }
            });
        }
        self.notifier.wake_all();
    }

    /// Takes note that the last duplicate of an anonymous fd was closed: by the daemon, or by its
    /// death.
    ///
    /// A daemon that goes on may be about to refuse the OPEN that the fd came with.
    pub(super) fn fd_closed(&self, object: &Arc<Object>, fd: NonZeroU32) {
        let closer = if kernel_ext::task::is_living() {
            Closer::Lives(super::clock::grain())
        } else {
            Closer::Dies
        };
        self.fd_lost(object, fd, closer);
    }

    /// Takes note that an anonymous fd is of no use any more.
    pub(super) fn fd_lost(&self, object: &Arc<Object>, fd: NonZeroU32, closer: Closer) {
        // The next daemon answers for what the file has.
        self.shut_windows(object);
        let mut forgotten = [const { None }; AHEAD_WINDOW];
        let closed = self.with(object, |slots, table, state| {
            let consequence = table.close_fd(slots, state, fd, closer);
            if consequence.forget {
                // With the lock held all the time: nobody can join one in between.
                for place in &mut forgotten {
                    let Some(id) = Table::next_read(slots, state) else {
                        break;
                    };
                    table.take_out(slots, state, id);
                    *place = slots.remove(id);
                }
            }
            if consequence.clock {
                Self::start_clock_of(object, table);
            }
            (consequence, state.has_close())
        });
        drop(forgotten);
        let Ok((consequence, closes)) = closed else {
            return;
        };
        if closes {
            self.finish_stale_closes(object);
        }
        self.follow_up(object.as_arc_borrow(), consequence);
    }
}
