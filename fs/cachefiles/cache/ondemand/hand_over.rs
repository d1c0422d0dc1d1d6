// SPDX-License-Identifier: GPL-2.0

//! Handing what is on its way to another daemon, of a cache that has lingered.

use super::engine::Engine;
use super::opening::Closer;
use crate::cache::object::Object;
use core::num::NonZeroU32;
use kernel::sync::Arc;

impl Engine {
    /// Begins the part of another daemon, while nobody reads the device. What was handed out and
    /// not answered is handed out again.
    ///
    /// The new daemon knows no fd. Those of the one before which some process still has count as
    /// closed, by a daemon that died: their objects are opened again when they are read. They are
    /// told apart by their numbers, so that it does no harm when they are closed later.
    pub(crate) fn hand_over(&self) {
        let mut from = 0;
        while let Some((id, object)) = self.next_fd(from) {
            if let Some(fd) = NonZeroU32::new(id) {
                self.fd_lost(&object, fd, Closer::Dies);
            }
            drop(object);
            from = id.wrapping_add(1);
            kernel_ext::task::cond_resched();
        }
        if self.is_dead() {
            self.revive();
        }
        self.restore();
    }

    /// Finds the open fd with the lowest number that is not below `from`. None is the last number.
    fn next_fd(&self, from: u32) -> Option<(u32, Arc<Object>)> {
        let fds = self.fds.lock();
        let (id, object) = fds.at_or_behind(from)?;
        Some((id, object.into()))
    }
}
