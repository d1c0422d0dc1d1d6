// SPDX-License-Identifier: GPL-2.0
//! The probes, by the parts of the interface.

mod anon_fd;
mod bind;
mod bind_fs;
mod copen;
mod cull;
mod device;
mod disk;
mod messages;
mod module;
mod netfs;
mod netfs_changes;
mod netfs_space;
mod release;
mod restore;
mod settings;
mod state;
mod stats;
mod tracepoints;
mod write;

use crate::probe::Probe;

/// Every probe, in the order of the interface's description.
pub fn all() -> impl Iterator<Item = &'static Probe> {
    [
        device::PROBES,
        write::PROBES,
        bind::PROBES,
        bind_fs::PROBES,
        settings::PROBES,
        cull::PROBES,
        copen::PROBES,
        restore::PROBES,
        state::PROBES,
        messages::PROBES,
        release::PROBES,
        anon_fd::PROBES,
        module::PROBES,
        disk::PROBES,
        stats::PROBES,
        netfs::PROBES,
        netfs_changes::PROBES,
        netfs_space::PROBES,
        tracepoints::PROBES,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn names_are_unique() {
        let mut seen = HashSet::new();
        for probe in super::all() {
            assert!(seen.insert(probe.name), "{} twice", probe.name);
        }
    }
}
