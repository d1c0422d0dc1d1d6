// SPDX-License-Identifier: GPL-2.0

//! The work of an object: opening it again whose fd the daemon no longer has, because reads wait
//! for it; and going on with its look-up once the daemon has answered.
//!
//! The first only puts the OPEN into the table; neither waits for an answer, so that no worker of
//! netfs' queue is held up however many objects are to be opened. The answer moves the reads on by
//! itself, see `answer`.

use super::engine::Engine;
use super::entry::Kind;
use super::state::AfterRefusal;
use crate::cache::object::Object;
use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};
use kernel::workqueue::WorkItem;
use kernel_ext::params::reopen_tries;

/// Queues the work of an object for a worker: never for the task that is here now, which may be the
/// daemon itself.
pub(crate) fn queue(object: ArcBorrow<'_, Object>) {
    // If it is queued already, the reference comes back, and that run will do.
    let _ = fscache::queue().enqueue(Arc::from(object));
}

impl WorkItem for Object {
    type Pointer = Arc<Object>;

    fn run(object: Arc<Object>) {
        Object::go_on_looking_up(&object);
        if let Some(engine) = object.engine() {
            engine.reopen(&object);
        }
    }
}

impl Engine {
    fn reopen(&self, object: &Arc<Object>) {
        if self.with(object, |_, _, state| state.wants_reopen()) != Ok(true) {
            return;
        }
        if let Err(error) = self.submit(object.as_arc_borrow(), Kind::Open) {
            if error == ENOMEM || error == EBUSY {
                // As if refused: tried again a few times, and then the readers are told. Unless
                // somebody else's OPEN came in between: its answer is theirs as well. No daemon
                // sets the pace here, and memory takes its time: the clock does.
                let after = self.with(object, |slots, table, state| {
                    if !state.wants_reopen() {
                        return AfterRefusal::Nothing;
                    }
                    match table.refuse_open(slots, state, None, reopen_tries()) {
                        AfterRefusal::TryAgain => {
                            Self::start_clock_of(object, table);
                            AfterRefusal::Nothing
                        }
                        after => after,
                    }
                });
                if let Ok(after) = after {
                    self.after_refusal(object, after);
                }
            }
            // Else the cache is dead or the object goes away, and the reads with it.
        }
    }
}
