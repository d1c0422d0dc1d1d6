// SPDX-License-Identifier: GPL-2.0

//! How a cache behaves towards its daemon, as that has said before `bind`.

use super::ondemand::Engine;
use super::Cache;
use core::sync::atomic::Ordering;
use fscache::Cookie;

/// What a daemon has said. A cache has it before fscache and readers have the cache.
#[derive(Clone, Copy)]
pub(crate) struct Behaviour {
    /// Seconds; 0 is for ever.
    pub(crate) timeout: u32,
    /// Seconds, where the daemon has named some.
    pub(crate) linger: Option<u32>,
    /// What is cached as a whole needs no OPEN.
    pub(crate) daemonless: bool,
    /// Network file systems are cached, too, as in the original mode.
    pub(crate) mixed: bool,
    /// KiB, where the daemon has named some.
    pub(crate) readahead: Option<u32>,
}

impl Behaviour {
    /// That of a cache of whose daemon nothing is known.
    pub(crate) const DEFAULT: Self = Self {
        timeout: 0,
        linger: None,
        daemonless: false,
        mixed: false,
        readahead: None,
    };
}

impl Cache {
    /// Sets all of it.
    pub(crate) fn behave(&self, behaviour: &Behaviour) {
        if let Some(engine) = self.engine() {
            Engine::set_timeout(engine, behaviour.timeout);
            engine.set_readahead(behaviour.readahead);
        }
        self.patience.set(behaviour.linger);
        self.daemonless
            .store(behaviour.daemonless, Ordering::Relaxed);
        self.mixed.store(behaviour.mixed, Ordering::Relaxed);
    }

    /// Returns whether objects whose files are there as a whole need no OPEN.
    pub(crate) fn is_daemonless(&self) -> bool {
        self.daemonless.load(Ordering::Relaxed) && self.ondemand.is_some()
    }

    /// Returns whether it serves images and network file systems.
    pub(crate) fn is_mixed(&self) -> bool {
        self.mixed.load(Ordering::Relaxed) && self.ondemand.is_some()
    }

    /// Returns the engine that is asked for the object of a cookie, or refuses it; none if the
    /// object's owner has the data itself.
    ///
    /// In a mixed cache only an image leaves the size to the daemon.
    pub(super) fn engine_for(&self, cookie: &Cookie) -> Option<&Engine> {
        self.ondemand()
            .filter(|_| cookie.wants_cache_size() || !self.is_mixed())
    }
}
