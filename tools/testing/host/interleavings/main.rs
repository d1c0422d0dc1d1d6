// SPDX-License-Identifier: GPL-2.0

//! The on-demand engine of the driver under every order of its steps.
//!
//! The engine's files and the abstractions under it (`rust/kernel_ext`: locked xarray, completion,
//! wait queue) are those of the module. Under them, in `shims/`, is a kernel of which the test
//! decides at each step who runs next; around them, here, are objects and a cache with nothing else
//! to them, and in `tests/` the readers, daemons, workers and killers.

#![cfg(test)]
// The module's own users of these items are not here.
#![allow(dead_code)]

mod cache;
mod object;

#[path = "../../../../fs/cachefiles/data"]
mod data {
    pub(crate) mod extent;
}
#[path = "../../../../fs/cachefiles/format"]
mod format {
    pub(crate) mod command;
    mod limits;
}
#[path = "../../../../fs/cachefiles/notify.rs"]
mod notify;

// The same list as in `fs/cachefiles/cache/ondemand.rs`.
#[path = "../../../../fs/cachefiles/cache/ondemand"]
mod ondemand {
    mod ahead;
    mod anon_fd;
    mod answer;
    mod clock;
    mod deferral;
    #[path = "../../../../tools/testing/host/interleavings/deferred.rs"]
    pub(crate) mod deferred;
    mod deliver;
    mod engine;
    mod entry;
    mod fetch;
    #[path = "../../../../tools/testing/host/interleavings/fetched.rs"]
    mod fetched;
    mod filling;
    mod hand_over;
    mod message;
    mod missing;
    mod opening;
    mod reads_ahead;
    pub(crate) mod reopen;
    mod request;
    mod state;
    mod streams;
    mod table;
    mod time;
    mod windows;

    /// Less than in the module: so that what may happen between two batches happens to few
    /// requests.
    const BATCH: usize = 1;

    pub(crate) use engine::Engine;
    pub(crate) use state::{ObjectState, State};

    /// What the checks look at: the table, and the state of an object.
    impl Engine {
        pub(crate) fn ids_in_table(&self) -> Vec<u32> {
            let mut guard = self.table.lock();
            let (mut slots, _) = guard.slots();
            let mut ids = Vec::new();
            let mut from = 0;
            while let Some(id) = slots.at_or_behind(from).map(|at| at.id()) {
                ids.push(id);
                from = id + 1;
            }
            ids
        }

        /// Puts a READ into the table for which nobody waits.
        pub(crate) fn send_read(
            &self,
            object: &kernel::sync::Arc<crate::cache::object::Object>,
            off: u64,
            len: u64,
        ) {
            let object = object.as_arc_borrow();
            drop(self.submit(object, entry::Kind::Read { off, len }).unwrap());
        }

        /// Asks for a range with nobody who waits for it, in READs of `unit` bytes.
        pub(crate) fn read_ahead(
            &self,
            object: &kernel::sync::Arc<crate::cache::object::Object>,
            range: crate::data::extent::Hole,
            unit: i64,
        ) {
            let file = object.file().unwrap();
            let ahead = streams::Ahead {
                start: range.start,
                end: range.end,
                unit,
            };
            self.send_ahead(object.as_arc_borrow(), &file, ahead);
        }

        /// How many wait for each READ of the object: for one ahead, one more.
        pub(crate) fn waiters_of(&self, object: &crate::cache::object::Object) -> Vec<u16> {
            let ids = self.ids_in_table();
            self.with(object, |slots, _, _| {
                let waiters = |id| slots.at(id).map(|mut at| at.locked().waiters);
                ids.into_iter().filter_map(waiters).collect()
            })
            .unwrap()
        }

        /// A write of the daemon.
        pub(crate) fn write(
            object: &crate::cache::object::Object,
            pos: i64,
            len: usize,
            tag: u32,
        ) -> kernel::error::Result<usize> {
            let mut iter = kernel_ext::io::IovIterSource::tagged(len, tag);
            fetched::write_from_daemon(object, pos, &mut iter)
        }

        /// The object is with another daemon.
        pub(crate) fn hand_on(&self, object: &crate::cache::object::Object) {
            self.shut_windows(object);
        }

        pub(crate) fn deferrals(&self) -> u32 {
            self.deferrals.load(core::sync::atomic::Ordering::SeqCst)
        }

        pub(crate) fn state_of(&self, object: &crate::cache::object::Object) -> State {
            self.with(object, |_, _, state| state.state()).unwrap()
        }
    }
}

mod tests;

/// The module that there is none of.
static THIS_MODULE: kernel::ThisModule = kernel::ThisModule::new();
