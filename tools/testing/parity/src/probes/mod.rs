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

use anyhow::{Result, bail};

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

/// The probes that one of the words is a part of the name of, or the section that they belong to;
/// all of them where there is no word.
///
/// Error: a word that chooses none, with the names that there are.
pub fn chosen(words: &[String]) -> Result<Vec<&'static Probe>> {
    let is_meant = |probe: &Probe, word: &String| {
        probe.section == word.as_str() || probe.name.contains(word.as_str())
    };
    if let Some(word) = words
        .iter()
        .find(|word| !all().any(|probe| is_meant(probe, word)))
    {
        bail!(
            "no probe and no section is called {word}; there are\n{}",
            names()
        );
    }
    let is_chosen =
        |probe: &&Probe| words.is_empty() || words.iter().any(|word| is_meant(probe, word));
    Ok(all().filter(is_chosen).collect())
}

/// A line for each section, with its probes.
fn names() -> String {
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for probe in all() {
        match sections.iter_mut().find(|(name, _)| *name == probe.section) {
            Some((_, probes)) => probes.push(probe.name),
            None => sections.push((probe.section, vec![probe.name])),
        }
    }
    let lines = sections
        .iter()
        .map(|(section, probes)| format!("  {section}: {}", probes.join(" ")));
    lines.collect::<Vec<_>>().join("\n")
}

/// Tells whether a probe is about caches of network file systems alone, and needs no injection of
/// errors.
pub fn is_original(probe: &Probe) -> bool {
    [netfs::PROBES, netfs_changes::PROBES, netfs_space::PROBES]
        .into_iter()
        .flatten()
        .any(|known| known.name == probe.name && known.name != netfs_space::INJECTING)
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

    fn chosen(words: &[&str]) -> Result<Vec<&'static str>, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        super::chosen(&words)
            .map(|probes| probes.iter().map(|probe| probe.name).collect())
            .map_err(|error| format!("{error}"))
    }

    #[test]
    fn without_a_word_all_are_chosen() {
        assert_eq!(chosen(&[]).unwrap().len(), super::all().count());
    }

    #[test]
    fn a_part_of_a_name_and_a_section_choose() {
        let first = super::all().next().unwrap();
        assert!(chosen(&[first.name]).unwrap().contains(&first.name));
        for probe in super::all() {
            assert!(chosen(&[probe.section]).unwrap().contains(&probe.name));
        }
    }

    #[test]
    fn a_word_that_chooses_none_is_answered_with_the_names() {
        let first = super::all().next().unwrap();
        let error = chosen(&[first.name, "no-such-probe"]).unwrap_err();
        assert!(error.contains("called no-such-probe"), "{error}");
        for probe in super::all() {
            assert!(error.contains(probe.section) && error.contains(probe.name));
        }
    }
}
