// SPDX-License-Identifier: GPL-2.0

//! The slots of the request table, in memory of the host.

use super::entry::{Cursor, Entry, Slots};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Map {
    pub(super) entries: BTreeMap<u32, Entry>,
    pub(super) ready: BTreeSet<u32>,
    /// How often a slot was looked for.
    pub(super) looks: usize,
}

/// A slot of the map that has a request in it.
pub(super) struct Place<'a> {
    map: &'a mut Map,
    id: u32,
}

impl Cursor for Place<'_> {
    fn id(&self) -> u32 {
        self.id
    }
    fn entry(&mut self) -> &mut Entry {
        self.map.entries.get_mut(&self.id).unwrap()
    }
    fn set_ready(&mut self) {
        assert!(self.map.ready.insert(self.id), "marked twice");
    }
    fn clear_ready(&mut self) {
        assert!(self.map.ready.remove(&self.id), "was not marked");
    }
}

impl Slots for Map {
    type Cursor<'a> = Place<'a>;

    fn at(&mut self, id: u32) -> Option<Place<'_>> {
        self.looks += 1;
        self.entries
            .contains_key(&id)
            .then_some(Place { map: self, id })
    }
    fn at_ready(&mut self, from: u32) -> Option<Place<'_>> {
        self.looks += 1;
        let mut ready = self.ready.range(from..).chain(&self.ready);
        let id = *ready.next()?;
        Some(Place { map: self, id })
    }
    fn set_ready(&mut self, id: u32) {
        assert!(self.ready.insert(id), "marked twice");
    }
}

impl Map {
    pub(super) fn next(&self, from: u32) -> Option<u32> {
        self.entries.range(from..).next().map(|(id, _)| *id)
    }
}
