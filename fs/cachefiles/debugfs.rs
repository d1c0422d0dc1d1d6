// SPDX-License-Identifier: GPL-2.0

//! What is in the caches at this moment, below `/sys/kernel/debug/cachefiles`.
//!
//! One line for each thing, with the lock of one table held for as long as that line takes. What
//! the columns are is in `Documentation/debugfs.rst`.

use crate::cache::object::Object;
use crate::cache::{all, Cache};
use core::fmt::{self, Write};
use kernel::c_str;
use kernel::prelude::*;
use kernel_ext::debugfs::{Directory, Line, Listing};

/// Makes the files. Error: EINVAL, never where `module` is this one.
pub(crate) fn create(module: &'static ThisModule) -> Result<Directory> {
    let directory = Directory::create(c_str!("cachefiles"), module)?;
    directory.add::<Caches>(c_str!("caches"));
    directory.add::<Objects>(c_str!("objects"));
    directory.add::<Requests>(c_str!("requests"));
    Ok(directory)
}

/// A name in one word: a byte that is no visible ASCII character is `\x` and two digits.
struct Word<'a>(&'a [u8]);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            if byte.is_ascii_graphic() && byte != b'\\' {
                f.write_char(char::from(byte))?;
            } else {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl Cache {
    fn word(&self) -> Word<'_> {
        Word(self.fscache.name().as_bytes())
    }
}

/// All caches.
struct Caches;

impl Listing for Caches {
    const HEADER: &'static str = "# cache mode state deferred_reads";

    fn next(position: u64, line: &mut Line) -> Option<u64> {
        all::find(position, |cache, from| {
            // There is one of it.
            if from != 0 {
                return None;
            }
            let (mode, deferred) = match cache.ondemand() {
                Some(engine) if cache.is_mixed() => ("mixed", engine.n_deferred()),
                Some(engine) => ("ondemand", engine.n_deferred()),
                None => ("original", 0),
            };
            let state = if cache.is_dead() { "dead" } else { "alive" };
            // A line takes all that fits, and never fails.
            let _ = write!(line, "{} {mode} {state} {deferred}", cache.word());
            Some(0)
        })
    }
}

/// The objects of all caches.
struct Objects;

impl Listing for Objects {
    const HEADER: &'static str = "# cache object state object_id size allocated volume key";

    fn next(position: u64, line: &mut Line) -> Option<u64> {
        all::find(position, |cache, from| {
            cache.look_at_object(from, |object| list_object(cache, object, line))
        })
    }
}

/// Under the lock of the cache's list of objects.
fn list_object(cache: &Cache, object: &Object, line: &mut Line) {
    let report = object.engine().and_then(|it| it.report_object(object));
    let (state, fd) = report.unwrap_or(("-", None));
    let _ = write!(
        line,
        "{} {:x} {state} {} {} {} {} {}",
        cache.word(),
        object.debug_id(),
        fd.map_or(0, |fd| fd.get()),
        object.cookie().object_size(),
        object.data().blocks().saturating_mul(512),
        Word(object.volume().netfs().key()),
        Word(object.cookie().key()),
    );
}

/// The requests of all on-demand caches that the daemon has not answered.
struct Requests;

impl Listing for Requests {
    const HEADER: &'static str =
        "# cache request kind phase age_ms waiters object offset length volume key";

    fn next(position: u64, line: &mut Line) -> Option<u64> {
        all::find(position, |cache, from| {
            cache.ondemand()?.report_request(from, |request, object| {
                let _ = write!(
                    line,
                    "{} {} {} {} {} {} {:x} {} {} {} {}",
                    cache.word(),
                    request.id,
                    request.kind,
                    request.phase,
                    request.age_ms,
                    request.waiters,
                    object.debug_id(),
                    request.off,
                    request.len,
                    Word(object.volume().netfs().key()),
                    Word(object.cookie().key()),
                );
            })
        })
    }
}
