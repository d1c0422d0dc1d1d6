// SPDX-License-Identifier: GPL-2.0
//! Which READs are being served, so that each is answered by one task, and by the right one.
//!
//! The kernel delivers a READ again, under the same id, where the device is restored, and where the
//! object was opened anew: under another object then. What is delivered while a task has it in hand
//! is left to that task, or the repeats of a daemon that restores all the time would keep it from
//! everything else. A READ that has moved to another object belongs to the task that came with
//! that: the older one must not fail it, which needs no more than the id.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cachefiles_protocol::Read;

use crate::metrics::Waiting;

/// The READs that are being served.
#[derive(Default)]
pub struct InHand(Mutex<HashMap<u32, Taken>>);

#[derive(Clone, Copy)]
struct Taken {
    object_id: u32,
    since: Instant,
}

impl Waiting for InHand {
    fn since(&self) -> Vec<Instant> {
        self.reads().values().map(|taken| taken.since).collect()
    }
}

impl InHand {
    fn reads(&self) -> MutexGuard<'_, HashMap<u32, Taken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a READ in hand. False if it is in hand already, for the same object.
    pub fn take(&self, read: &Read) -> bool {
        let mut reads = self.reads();
        let known = reads.get(&read.msg_id).copied();
        let taken = Taken {
            object_id: read.object_id,
            since: known.map_or_else(Instant::now, |known| known.since),
        };
        reads.insert(read.msg_id, taken);
        known.map(|known| known.object_id) != Some(read.object_id)
    }

    /// Whether it still is in hand for this object.
    pub fn has(&self, read: &Read) -> bool {
        is_of(&self.reads(), read)
    }

    /// Puts it down, before it is answered: what is delivered from now on is a READ of its own.
    /// False if it was not in hand for this object, and so is not to be answered.
    pub fn put_down(&self, read: &Read) -> bool {
        let mut reads = self.reads();
        let is_ours = is_of(&reads, read);
        if is_ours {
            reads.remove(&read.msg_id);
        }
        is_ours
    }
}

fn is_of(reads: &HashMap<u32, Taken>, read: &Read) -> bool {
    reads
        .get(&read.msg_id)
        .is_some_and(|taken| taken.object_id == read.object_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(msg_id: u32, object_id: u32) -> Read {
        Read {
            msg_id,
            object_id,
            off: 0,
            len: 1,
        }
    }

    #[test]
    fn what_is_delivered_again_is_left_to_the_task_that_has_it() {
        let in_hand = InHand::default();
        assert!(in_hand.take(&read(1, 7)));
        assert!(!in_hand.take(&read(1, 7)));
        assert!(in_hand.take(&read(2, 7)));
        assert!(in_hand.put_down(&read(1, 7)));
        assert!(!in_hand.put_down(&read(1, 7)));
        // The answer may have come too early: then it is delivered once more.
        assert!(in_hand.take(&read(1, 7)));
    }

    #[test]
    fn what_has_moved_to_another_object_is_not_answered_for_the_old_one() {
        let in_hand = InHand::default();
        assert!(in_hand.take(&read(1, 7)));
        assert!(in_hand.take(&read(1, 8)));
        assert!(!in_hand.has(&read(1, 7)));
        assert!(!in_hand.put_down(&read(1, 7)));
        assert!(in_hand.put_down(&read(1, 8)));
    }
}
