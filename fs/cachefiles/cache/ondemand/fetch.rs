// SPDX-License-Identifier: GPL-2.0

//! Having holes filled: by READs, which several reads may share.

use super::deferred::DeferredNode;
use super::engine::{new_node, Engine, Waiting};
use super::entry::{Entry, Kind};
use super::streams::Ahead;
use super::table::Table;
use crate::cache::object::Object;
use crate::data::extent::{Extent, Hole};
use kernel::prelude::*;
use kernel::sync::ArcBorrow;
use kernel_ext::fs::File;
use kernel_ext::io::Window;

/// Who waits for a READ.
pub(super) enum Waiter {
    Task,
    /// A read, in the place of its task.
    Deferred(DeferredNode),
}

/// A READ to wait for.
pub(super) enum Read {
    /// One in flight that covers what is wanted.
    Joined(Waiting),
    /// One of our own.
    Sent(Waiting),
}

impl Engine {
    /// Has the daemon fill a hole. Returns up to where there is data at `pos` in it after that,
    /// `None` where there is none.
    ///
    /// A read that lies inside another one in flight waits for that one. If it turns out not to
    /// have brought what was needed, the daemon is asked once more, by a READ of our own.
    ///
    /// What is to be asked for `ahead` of the reader is, behind that, before the wait begins. Where
    /// the `window` onto all that the hole is of is full after that, nothing more is asked of the
    /// file. Errors: as for [`Engine::open`].
    pub(crate) fn fetch(
        &self,
        object: ArcBorrow<'_, Object>,
        file: &File,
        hole: Hole,
        pos: i64,
        mut ahead: Option<Ahead>,
        window: Option<&Window>,
    ) -> Result<Option<i64>> {
        let off = u64::try_from(hole.start).map_err(|_| EINVAL)?;
        let len = u64::try_from(hole.end.saturating_sub(hole.start)).map_err(|_| EINVAL)?;
        loop {
            let read = self.submit_read(object, off, len, Waiter::Task);
            if let Some(ahead) = ahead.take() {
                self.send_ahead(object, file, ahead);
            }
            let (waiting, is_own) = match read? {
                Read::Joined(waiting) => (waiting, false),
                Read::Sent(waiting) => (waiting, true),
            };
            self.wait(waiting)?;
            if window.is_some_and(Window::is_full) {
                return Ok(Some(hole.end));
            }
            match object.data().extent_at(file, pos, hole.end)? {
                Extent::Data(data_end) => return Ok(Some(data_end)),
                _ if is_own => return Ok(None),
                _ => {}
            }
        }
    }

    /// Has the daemon fill a hole for a read that waits without a task: that goes on when a READ is
    /// answered that covers the hole. If none can be made, it fails.
    pub(crate) fn fetch_for(&self, object: ArcBorrow<'_, Object>, hole: Hole, node: DeferredNode) {
        let len = hole.end.saturating_sub(hole.start);
        if let (Ok(off), Ok(len)) = (u64::try_from(hole.start), u64::try_from(len)) {
            // An error is told by the drop of the node.
            let _ = self.submit_read(object, off, len, Waiter::Deferred(node));
        }
    }

    /// Joins a read in flight that covers this one, or puts one of its own into the table.
    ///
    /// Of READs ahead it joins one that covers the beginning, too: what follows is mostly in the
    /// next of them.
    pub(super) fn submit_read(
        &self,
        object: ArcBorrow<'_, Object>,
        off: u64,
        len: u64,
        mut waiter: Waiter,
    ) -> Result<Read> {
        let node = new_node(object, Entry::new(Kind::Read { off, len }, 1))?;
        let mut guard = self.table.lock();
        let joined = {
            let (mut slots, _, state) = guard.with(object.ondemand()?)?;
            let mut id = Table::join_covering_read(&mut slots, state, off, len);
            if id.is_none() && state.has_ahead() {
                id = Table::join_ahead(&mut slots, state, off, len);
            }
            id.and_then(|id| slots.at(id)).map(|mut at| {
                if at.locked().is_awaited_by_one() {
                    at.shared().begin_time();
                }
                if let Waiter::Deferred(mut deferred) =
                    core::mem::replace(&mut waiter, Waiter::Task)
                {
                    deferred.set_own(false);
                    at.shared().add_deferred(deferred);
                }
                Waiting {
                    id: at.id(),
                    node: at.node().into(),
                }
            })
        };
        if let Some(waiting) = joined {
            drop(guard);
            return Ok(Read::Joined(waiting));
        }
        if let Waiter::Deferred(mut deferred) = waiter {
            deferred.set_own(true);
            node.shared().add_deferred(deferred);
        }
        let waiting = self.enter(guard, object, node, Kind::Read { off, len })?;
        Ok(Read::Sent(waiting))
    }
}
