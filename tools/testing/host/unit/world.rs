// SPDX-License-Identifier: GPL-2.0

//! A small world around the table: readers, objects, a daemon that answers, refuses and dies.

use super::entry::{Cursor, Entry, Kind, Phase, Slots};
use super::map::Map;
use super::opening::Closer;
use super::state::{AfterRefusal, ObjectState, State};
use super::table::{Consequence, Refused, Table};
use super::time::{Expiry, Tick, GRAINS_IN_SECOND};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

#[path = "check.rs"]
mod check;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Failed,
}

pub(super) struct World {
    pub(super) table: Table,
    slots: Map,
    pub(super) objects: Vec<ObjectState>,
    /// Object of each request that is or was in the table.
    owner: BTreeMap<u32, usize>,
    pub(super) ended: BTreeMap<u32, Outcome>,
    next_id: u32,
    next_fd: u32,
    /// Reopens that the worker has not run yet, by object.
    reopens: BTreeSet<usize>,
    /// Those who tell the READs of an object what became of it: which, and where they go on.
    sweeps: Vec<(usize, Option<u32>)>,
    /// They only go on by [`World::sweep`].
    pub(super) sweeps_wait: bool,
    /// So many READs they look at with the table locked once.
    pub(super) batch: usize,
    /// Fds that the daemon holds: id and object.
    pub(super) fds: BTreeMap<NonZeroU32, usize>,
    /// How often a reopening may be refused in a row.
    pub(super) tries: u32,
    /// In grains.
    now: u32,
    /// The clock is to ring.
    clock: bool,
    /// When the time of each request began.
    since: BTreeMap<u32, u32>,
    /// CLOSEs that nobody waits for any more.
    pub(super) released: BTreeSet<u32>,
    dead: bool,
}

impl World {
    pub(super) fn new(objects: usize) -> Self {
        Self {
            table: Table::new(),
            slots: Map::default(),
            objects: (0..objects).map(|_| ObjectState::new()).collect(),
            owner: BTreeMap::new(),
            ended: BTreeMap::new(),
            next_id: 0,
            next_fd: 1,
            reopens: BTreeSet::new(),
            sweeps: Vec::new(),
            sweeps_wait: false,
            batch: 1,
            fds: BTreeMap::new(),
            tries: 3,
            // Soon to wrap around.
            now: u32::MAX - 6,
            clock: false,
            since: BTreeMap::new(),
            released: BTreeSet::new(),
            dead: false,
        }
    }

    fn follow_up(&mut self, object: usize, consequence: Consequence) {
        if consequence.reopen {
            self.reopens.insert(object);
        }
        self.clock |= consequence.clock;
        if consequence.sweep {
            self.sweeps.push((object, None));
        }
        while !self.sweeps_wait && self.sweep(0) {}
    }

    /// One of those who tell READs goes on for a batch. False where there is none.
    pub(super) fn sweep(&mut self, number: usize) -> bool {
        if self.sweeps.is_empty() {
            return false;
        }
        let number = number % self.sweeps.len();
        let (object, from) = self.sweeps.remove(number);
        let is_there = |id: &u32| self.slots.entries.contains_key(id) && self.owner[id] == object;
        let from = from.filter(is_there);
        let swept = Table::sweep(&mut self.slots, &self.objects[object], from, self.batch);
        assert!(swept.ready as usize <= self.batch);
        if swept.next.is_some() {
            self.sweeps.insert(number, (object, swept.next));
        }
        true
    }

    fn end(&mut self, id: u32, outcome: Outcome) {
        assert!(
            self.slots.entries.remove(&id).is_some(),
            "{id} ended, and was not in the table"
        );
        // As the xarray does.
        self.slots.ready.remove(&id);
        assert!(self.ended.insert(id, outcome).is_none(), "{id} ended twice");
    }

    fn take_out(&mut self, id: u32, outcome: Outcome) {
        let object = self.owner[&id];
        self.table
            .take_out(&mut self.slots, &mut self.objects[object], id);
        self.end(id, outcome);
    }

    pub(super) fn submit(&mut self, object: usize, kind: Kind) -> Result<u32, Refused> {
        self.enter(object, Entry::new(kind, 1))
    }

    fn enter(&mut self, object: usize, entry: Entry) -> Result<u32, Refused> {
        let id = self.next_id;
        self.next_id += 1;
        self.slots.entries.insert(id, entry);
        let entry = self.slots.entries.get_mut(&id).unwrap();
        match self.table.admit(entry, &mut self.objects[object], id) {
            Ok(admitted) => {
                let consequence = admitted.enter(&mut self.slots);
                assert!(consequence.ready <= 1);
                self.owner.insert(id, object);
                self.since.insert(id, self.now);
                self.clock |= self.table.timeout() != 0;
                self.follow_up(object, consequence);
                Ok(id)
            }
            Err(refused) => {
                self.slots.entries.remove(&id);
                Err(refused)
            }
        }
    }

    /// A read, as the engine does it: joined to one that covers it, or sent.
    pub(super) fn read(&mut self, object: usize, off: u64, len: u64) -> Result<u32, Refused> {
        let state = &self.objects[object];
        let mut joined = Table::join_covering_read(&mut self.slots, state, off, len);
        if joined.is_none() && state.has_ahead() {
            joined = Table::join_ahead(&mut self.slots, state, off, len);
        }
        match joined {
            Some(id) => {
                if self.slots.entries[&id].is_awaited_by_one() {
                    self.since.insert(id, self.now);
                }
                Ok(id)
            }
            None => self.submit(object, Kind::Read { off, len }),
        }
    }

    /// Up to where it is asked for what is at `off`.
    pub(super) fn asked_up_to(&mut self, object: usize, off: u64) -> Option<u64> {
        Table::asked_up_to(&mut self.slots, &self.objects[object], off)
    }

    /// A READ ahead of those who read.
    pub(super) fn read_ahead(&mut self, object: usize, off: u64, len: u64) -> Result<u32, Refused> {
        self.enter(object, Entry::new_ahead(off, len))
    }

    /// The object is about to go away: what the daemon has not seen of READs ahead goes first.
    pub(super) fn leave(&mut self, object: usize) {
        self.objects[object].leave();
        let mut from = None;
        loop {
            let is_there = |id: &u32| self.slots.entries.contains_key(id);
            let from_there = from.filter(is_there);
            let state = &self.objects[object];
            let looked = Table::next_unseen_ahead(&mut self.slots, state, from_there, self.batch);
            if let Some(id) = looked.found {
                self.take_out(id, Outcome::Failed);
            }
            if looked.next.is_none() {
                break;
            }
            from = looked.next;
        }
    }

    /// The waiter of a request is killed.
    pub(super) fn kill_waiter(&mut self, id: u32) {
        let Some(&object) = self.owner.get(&id) else {
            return;
        };
        let left = match self.slots.entries.get_mut(&id) {
            Some(entry) => Table::leave(entry, &self.objects[object]),
            None => false,
        };
        if left {
            self.take_out(id, Outcome::Failed);
        }
    }

    fn pick(&mut self) -> Option<(u32, Kind)> {
        loop {
            let mut at = self.table.pick(&mut self.slots)?;
            let state = &self.objects[self.owner[&at.id()]];
            if !Table::park(&mut at, state) {
                self.table.deliver(&mut at, state);
                return Some((at.id(), at.entry().kind));
            }
        }
    }

    /// The daemon reads a message. An OPEN comes with a new fd.
    pub(super) fn daemon_read(&mut self) -> Option<(u32, Kind)> {
        let (id, kind) = self.pick()?;
        let object = self.owner[&id];
        match kind {
            Kind::Open => {
                let fd = NonZeroU32::new(self.next_fd).unwrap();
                self.next_fd += 1;
                if self
                    .table
                    .attach_fd(&mut self.slots, &mut self.objects[object], id, fd)
                {
                    self.fds.insert(fd, object);
                    self.finish_stale_closes(object);
                }
            }
            Kind::Close(_) => self.take_out(id, Outcome::Done),
            Kind::Read { .. } => {
                let state = &self.objects[object];
                assert!(state.state() == State::Open && state.fd().is_some());
            }
        }
        Some((id, kind))
    }

    /// The message could not be copied.
    pub(super) fn daemon_read_faults(&mut self) {
        let Some((id, kind)) = self.pick() else {
            return;
        };
        let object = self.owner[&id];
        if kind != Kind::Open {
            let mut at = self.slots.at(id).unwrap();
            Table::undeliver(&mut at, &self.objects[object]);
            return;
        }
        let fd = NonZeroU32::new(self.next_fd).unwrap();
        self.next_fd += 1;
        let (slots, state) = (&mut self.slots, &mut self.objects[object]);
        if self.table.attach_fd(slots, state, id, fd) {
            self.finish_stale_closes(object);
            let (slots, state) = (&mut self.slots, &mut self.objects[object]);
            assert!(self.table.take_back(slots, state, id, fd));
            self.fds.insert(fd, object);
            self.close_fd(fd, false);
        }
    }

    /// Requests are made, and fds closed, a little after the clock was read.
    pub(super) fn clock_is_behind(&mut self) {
        self.pass(2u32.wrapping_neg());
    }

    /// `timeout`
    pub(super) fn set_timeout(&mut self, seconds: u32) {
        // What is left of the grain in which a request was made comes on top.
        self.table
            .set_timeout((GRAINS_IN_SECOND * seconds).saturating_sub(1));
        self.clock = true;
    }

    /// So many seconds go by, and nothing happens.
    pub(super) fn pass(&mut self, seconds: u32) {
        let grains = GRAINS_IN_SECOND.wrapping_mul(seconds);
        self.now = self.now.wrapping_add(grains);
    }

    /// As if a request was so many seconds older.
    pub(super) fn was_made_before(&mut self, id: u32, seconds: u32) {
        let since = self.since.get_mut(&id).unwrap();
        *since = since.wrapping_sub(GRAINS_IN_SECOND * seconds);
    }

    /// A second goes by.
    pub(super) fn tick(&mut self) {
        self.pass(1);
        if !std::mem::take(&mut self.clock) {
            return;
        }
        let (now, timeout) = (self.now, self.table.timeout());
        for id in self.in_table() {
            let (object, since) = (self.owner[&id], self.since[&id]);
            let Some(mut at) = self.slots.at(id) else {
                continue;
            };
            let state = &self.objects[object];
            let (tick, again) = Table::tick(&mut at, state, since, now, timeout);
            self.clock |= again.is_some();
            match tick {
                Tick::Nothing | Tick::Ready => {}
                Tick::Reopen => {
                    self.reopens.insert(object);
                }
                Tick::Overdue => match self.table.expire(at.entry(), state, since, now).unwrap() {
                    Expiry::Fail => self.take_out(id, Outcome::Failed),
                    Expiry::AskAgain => {
                        let state = &mut self.objects[object];
                        if self.table.expire_open(&mut self.slots, state, id) {
                            self.reopens.insert(object);
                        }
                        self.end(id, Outcome::Failed);
                        self.finish_stale_closes(object);
                    }
                    Expiry::Release => assert!(self.released.insert(id), "released twice"),
                },
            }
        }
    }

    /// `copen` with a size or an error. False for EINVAL.
    pub(super) fn copen(&mut self, id: u32, accept: bool) -> bool {
        let may_answer = |entry| Table::may_answer_open(entry);
        if !self.slots.entries.get(&id).is_some_and(may_answer) {
            return false;
        }
        let object = self.owner[&id];
        let state = &mut self.objects[object];
        if accept {
            if let Some(consequence) = self.table.accept_open(&mut self.slots, state, id) {
                self.end(id, Outcome::Done);
                self.follow_up(object, consequence);
                return true;
            }
        }
        self.refuse(object, id);
        true
    }

    fn refuse(&mut self, object: usize, id: u32) {
        let state = &mut self.objects[object];
        let after = self
            .table
            .refuse_open(&mut self.slots, state, Some(id), self.tries);
        self.end(id, Outcome::Failed);
        self.finish_stale_closes(object);
        match after {
            AfterRefusal::Nothing => {}
            AfterRefusal::TryAgain => {
                self.reopens.insert(object);
            }
            AfterRefusal::FailReads => {
                while let Some(id) = Table::next_read(&mut self.slots, &self.objects[object]) {
                    self.take_out(id, Outcome::Failed);
                }
            }
        }
    }

    /// `cread` by an fd of the object. False for EINVAL.
    pub(super) fn cread(&mut self, object: usize, id: u32) -> bool {
        let Some(mut at) = self.slots.at(id) else {
            return false;
        };
        if self.owner[&id] != object || !matches!(at.entry().kind, Kind::Read { .. }) {
            return false;
        }
        let gap = self.table.take_out_at(&mut at, &mut self.objects[object]);
        gap.unwrap().close(&mut self.slots);
        self.end(id, Outcome::Done);
        true
    }

    /// `cfail`. False for EINVAL.
    pub(super) fn cfail(&mut self, id: u32) -> bool {
        let may_fail = |entry| Table::may_fail_read(entry);
        if !self.slots.entries.get(&id).is_some_and(may_fail) {
            return false;
        }
        self.take_out(id, Outcome::Failed);
        true
    }

    pub(super) fn close_fd(&mut self, fd: NonZeroU32, dies: bool) {
        let Some(object) = self.fds.remove(&fd) else {
            return;
        };
        let closer = if dies {
            Closer::Dies
        } else {
            Closer::Lives(self.now)
        };
        let consequence =
            self.table
                .close_fd(&mut self.slots, &mut self.objects[object], fd, closer);
        if consequence.forget {
            while let Some(id) = Table::next_read(&mut self.slots, &self.objects[object]) {
                self.take_out(id, Outcome::Failed);
            }
        }
        self.finish_stale_closes(object);
        self.follow_up(object, consequence);
    }

    fn finish_stale_closes(&mut self, object: usize) {
        while let Some(id) = Table::next_stale_close(&mut self.slots, &self.objects[object]) {
            self.take_out(id, Outcome::Done);
        }
    }

    /// The daemon dies; somebody else holds the device.
    pub(super) fn daemon_dies(&mut self) {
        for fd in self.fds.keys().copied().collect::<Vec<_>>() {
            self.close_fd(fd, true);
        }
    }

    pub(super) fn restore(&mut self) {
        let mut from = 0;
        while let Some(id) = self.slots.next(from) {
            let object = self.owner[&id];
            let mut at = self.slots.at(id).unwrap();
            Table::restore(&mut at, &self.objects[object]);
            from = id + 1;
        }
    }

    /// A worker runs the reopens that are queued.
    pub(super) fn run_reopens(&mut self) {
        for object in std::mem::take(&mut self.reopens) {
            let state = &self.objects[object];
            if state.state() == State::Reopening && !state.is_opening() {
                let _ = self.submit(object, Kind::Open);
            }
        }
    }

    pub(super) fn drop_object(&mut self, object: usize) {
        self.table.drop_object(&mut self.objects[object]);
        while let Some(id) = Table::next_left(&mut self.slots, &self.objects[object]) {
            self.take_out(id, Outcome::Failed);
        }
        self.reopens.remove(&object);
    }

    pub(super) fn kill_cache(&mut self) {
        self.table.kill();
        self.dead = true;
        while let Some(id) = self.slots.next(0) {
            self.take_out(id, Outcome::Failed);
        }
    }

    pub(super) fn in_table(&self) -> Vec<u32> {
        self.slots.entries.keys().copied().collect()
    }

    pub(super) fn is_clock_set(&self) -> bool {
        self.clock
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.slots.ready.is_empty()
    }
}
