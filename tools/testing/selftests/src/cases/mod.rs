// SPDX-License-Identifier: GPL-2.0
//! The tests, by what they are about.

mod async_reads;
mod bind;
mod commands;
mod crash;
mod cread;
mod daemon;
mod daemonless;
mod debugfs;
mod device;
mod events;
mod failed_reads;
mod failing;
#[cfg(test)]
mod faults;
mod fetched;
mod gates;
mod guessing;
mod hostile;
mod independent;
mod kept;
mod late;
mod linger;
mod load;
mod looking_up;
mod made_image;
mod meeting;
mod missing;
mod mixed;
mod module;
mod mount;
mod object_fd;
mod on_disk;
mod open;
mod original;
mod outside;
mod policy;
mod position;
mod read;
mod readahead;
mod refusing;
mod reopen;
mod restore;
mod room;
mod sharing;
mod signals;
mod slow_copy;
mod straight_reads;
mod succession;
mod timeout;
mod tracepoint;
mod trust;
mod unlinking;
mod unopened;
mod waking;

use crate::registry::Test;

/// Every test, in the order in which they run: what the later ones build on comes first.
pub fn all() -> impl Iterator<Item = &'static Test> {
    ondemand().chain(original())
}

/// Those of the on-demand mode, and of the device.
pub fn ondemand() -> impl Iterator<Item = &'static Test> {
    [
        device::TESTS,
        commands::TESTS,
        bind::TESTS,
        mount::TESTS,
        made_image::TESTS,
        missing::TESTS,
        open::TESTS,
        looking_up::TESTS,
        refusing::TESTS,
        read::TESTS,
        readahead::TESTS,
        readahead::endings::TESTS,
        cread::TESTS,
        failed_reads::TESTS,
        unopened::TESTS,
        failing::TESTS,
        async_reads::TESTS,
        straight_reads::TESTS,
        straight_reads::races::TESTS,
        timeout::TESTS,
        object_fd::TESTS,
        position::TESTS,
        fetched::TESTS,
        room::TESTS,
        late::TESTS,
        outside::TESTS,
        meeting::TESTS,
        restore::TESTS,
        reopen::TESTS,
        waking::TESTS,
        sharing::TESTS,
        slow_copy::TESTS,
        guessing::TESTS,
        succession::TESTS,
        daemonless::TESTS,
        mixed::TESTS,
        independent::TESTS,
        crash::TESTS,
        kept::TESTS,
        debugfs::TESTS,
        on_disk::TESTS,
        tracepoint::TESTS,
        module::TESTS,
        policy::TESTS,
        trust::TESTS,
        gates::TESTS,
        hostile::TESTS,
        signals::TESTS,
        load::TESTS,
        unlinking::TESTS,
    ]
    .into_iter()
    .chain(linger::ALL.iter().copied())
    .chain(daemon::ALL.iter().copied())
    .flatten()
}

/// Those of the original mode.
pub fn original() -> impl Iterator<Item = &'static Test> {
    original::ALL.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn names_are_unique() {
        let mut seen = HashSet::new();
        for test in super::all() {
            assert!(seen.insert(test.name), "{} twice", test.name);
        }
    }
}
