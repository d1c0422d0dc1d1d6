// SPDX-License-Identifier: GPL-2.0

//! What holds for the table at any time.

use super::*;

impl World {
    /// What has to hold at any moment.
    pub(in super::super) fn check(&mut self) {
        for (id, entry) in &self.slots.entries {
            assert_eq!(
                entry.phase() == Phase::Ready,
                self.slots.ready.contains(id),
                "mark of {id}"
            );
            assert_ne!(entry.phase(), Phase::New, "{id} was never admitted");
            let object = self.owner[id];
            let state = &self.objects[object];
            let is_told = self.sweeps.iter().all(|(other, _)| *other != object);
            match (entry.kind, entry.phase()) {
                // It is yet to learn what became of its object.
                (Kind::Read { .. }, _) if !is_told => {}
                (Kind::Read { .. }, Phase::Ready | Phase::Delivered) => {
                    assert_eq!(
                        state.state(),
                        State::Open,
                        "{id} is out, and its object not open"
                    );
                    let fd = state.fd().map(NonZeroU32::get);
                    let is_lost = entry.phase() == Phase::Delivered && fd != Some(entry.note);
                    assert!(!is_lost, "{id} went out with another fd");
                }
                (Kind::Read { .. }, _) => {
                    assert_eq!(
                        state.state(),
                        State::Reopening,
                        "{id} waits, and nobody reopens"
                    );
                }
                (Kind::Open, phase) => {
                    assert!(state.is_opening() && phase != Phase::Parked);
                    // Without the fd it came with, it has to be handed out again some time.
                    assert!(
                        phase == Phase::Ready || state.fd().is_some() || self.clock,
                        "{id} is lost"
                    );
                }
                (Kind::Close(fd), phase) => {
                    assert_eq!((state.fd(), phase), (Some(fd), Phase::Ready));
                }
            }
        }
        for object in 0..self.objects.len() {
            self.check_chain(object);
            let state = &self.objects[object];
            if state.state() == State::Reopening && !self.dead {
                let under_way = state.is_opening() || self.reopens.contains(&object);
                assert!(
                    under_way,
                    "object {object} is reopening, and nothing is under way"
                );
            }
            if state.state() == State::Open {
                assert!(
                    state.fd().is_some(),
                    "object {object} is open without an fd"
                );
            }
        }
    }

    /// The chain holds each request of the object once, whichever way it's walked.
    fn check_chain(&mut self, object: usize) {
        let mut expected: Vec<u32> = self
            .slots
            .entries
            .keys()
            .copied()
            .filter(|id| self.owner[id] == object)
            .collect();
        let mut found = Vec::new();
        let state = &self.objects[object];
        let mut link = state.first;
        while let Some(id) = link.id() {
            found.push(id);
            link = self.slots.entries[&id].next;
        }
        let is_read = |id: &u32| self.slots.entries[id].is_read();
        assert!(found.is_sorted_by_key(is_read), "a READ is in front");
        assert_eq!(
            found.last().copied(),
            state.last.id(),
            "tail of object {object}"
        );
        let is_ahead = |id: &u32| self.slots.entries[id].is_ahead();
        assert!(
            state.has_ahead() || !found.iter().any(is_ahead),
            "object {object} has a READ ahead, and does not know it"
        );
        let is_close = |id: &&u32| matches!(self.slots.entries[*id].kind, Kind::Close(_));
        let closes = found.iter().filter(is_close).count();
        assert_eq!(
            closes,
            usize::from(state.has_close()),
            "CLOSEs of object {object}"
        );
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "chain of object {object}");
    }
}
