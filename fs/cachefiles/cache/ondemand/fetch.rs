// SPDX-License-Identifier: GPL-2.0

//! Having holes filled: by READs, which several reads may share.

use super::deferred::DeferredNode;
use super::engine::{new_node, Engine, Waiting};
use super::entry::Kind;
use crate::cache::object::Object;
use crate::data::extent::{Extent, Hole};
use kernel::prelude::*;
use kernel::sync::ArcBorrow;
use kernel_ext::fs::File;

/// A READ to wait for.
enum Read {
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
    /// Errors: as for [`Engine::open`].
    pub(crate) fn fetch(
        &self,
        object: ArcBorrow<'_, Object>,
        file: &File,
        hole: Hole,
        pos: i64,
    ) -> Result<Option<i64>> {
        let off = u64::try_from(hole.start).map_err(|_| EINVAL)?;
        let len = u64::try_from(hole.end.saturating_sub(hole.start)).map_err(|_| EINVAL)?;
        loop {
            let (waiting, is_own) = match self.submit_read(object, off, len, None)? {
                Read::Joined(waiting) => (waiting, false),
                Read::Sent(waiting) => (waiting, true),
            };
            self.wait(waiting)?;
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
            let _ = self.submit_read(object, off, len, Some(node));
        }
    }

    /// Joins a read in flight that covers this one, or puts one of its own into the table. With a
    /// `deferred` it is that which waits, in the place of the task.
    fn submit_read(
        &self,
        object: ArcBorrow<'_, Object>,
        off: u64,
        len: u64,
        mut deferred: Option<DeferredNode>,
    ) -> Result<Read> {
        let node = new_node(object, Kind::Read { off, len })?;
        let mut guard = self.table.lock();
        let joined = {
            let (mut slots, table, state) = guard.with(object.ondemand()?)?;
            table
                .join_covering_read(&mut slots, state, off, len)
                .map(|at| {
                    if let Some(mut deferred) = deferred.take() {
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
        if let Some(mut deferred) = deferred {
            deferred.set_own(true);
            node.shared().add_deferred(deferred);
        }
        let waiting = self.enter(guard, object, node, Kind::Read { off, len })?;
        Ok(Read::Sent(waiting))
    }
}
