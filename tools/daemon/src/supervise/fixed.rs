// SPDX-License-Identifier: GPL-2.0
//! Options that stay as they were at the start, whatever SIGHUP brings.

use std::fmt::Debug;

use super::SuperviseArgs;

/// An option that has changed, by its key in the configuration, with both values.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    key: &'static str,
    old: String,
    new: String,
}

impl Change {
    fn of<T: Debug + PartialEq>(key: &'static str, old: &T, new: &T) -> Option<Self> {
        let shown = |value: &T| match format!("{value:?}") {
            none if none == "None" => "the default".to_owned(),
            text => match text
                .strip_prefix("Some(")
                .and_then(|it| it.strip_suffix(')'))
            {
                Some(inside) => inside.to_owned(),
                None => text,
            },
        };
        (old != new).then(|| Self {
            key,
            old: shown(old),
            new: shown(new),
        })
    }

    /// What is to be known of it.
    pub fn warn(&self) {
        let Self { key, old, new } = self;
        tracing::warn!(
            "{key}: {old} stays in force; for {new}, stop this when nothing is mounted, and start \
             it again"
        );
    }
}

/// The options that a reload would have to change and cannot.
pub fn changes(old: &SuperviseArgs, new: &SuperviseArgs) -> Vec<Change> {
    let (cache, later) = (&old.cache, &new.cache);
    let all = [
        Change::of("device", &cache.device, &later.device),
        Change::of("dir", &cache.dir, &later.dir),
        Change::of("tag", &cache.tag, &later.tag),
        Change::of("frun", &cache.frun, &later.frun),
        Change::of("fcull", &cache.fcull, &later.fcull),
        Change::of("fstop", &cache.fstop, &later.fstop),
        Change::of("brun", &cache.brun, &later.brun),
        Change::of("bcull", &cache.bcull, &later.bcull),
        Change::of("bstop", &cache.bstop, &later.bstop),
        Change::of("daemonless", &cache.daemonless, &later.daemonless),
        Change::of("mixed", &cache.mixed, &later.mixed),
        Change::of("stats", &old.stats, &new.stats),
        Change::of("pid_file", &old.pid_file, &new.pid_file),
        Change::of("backoff_min", &old.backoff_min, &new.backoff_min),
        Change::of("backoff_max", &old.backoff_max, &new.backoff_max),
        Change::of("backoff_reset", &old.backoff_reset, &new.backoff_reset),
        Change::of("start_attempts", &old.start_attempts, &new.start_attempts),
        Change::of("no_restore", &old.no_restore, &new.no_restore),
        Change::of("stop_in_use", &old.stop_in_use, &new.stop_in_use),
        Change::of("runtime_dir", &old.runtime_dir, &new.runtime_dir),
    ];
    // Taken out of the file, these stay as the kernel was told.
    let (live, next) = (&cache.live, &later.live);
    let kept = |key, old: Option<u32>, new: Option<u32>| {
        let is_gone = old.is_some() && new.is_none();
        is_gone.then(|| Change::of(key, &old, &new)).flatten()
    };
    let gone = [
        kept("linger", live.linger, next.linger),
        kept("readahead", live.readahead, next.readahead),
    ];
    all.into_iter().chain(gone).flatten().collect()
}
