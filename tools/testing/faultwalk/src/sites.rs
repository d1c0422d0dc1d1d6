// SPDX-License-Identifier: GPL-2.0
//! The places in the module from which memory is asked for: those that there are, by its file,
//! beside those that failed during the walk.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};

use crate::elf::{Call, Module};

/// What a function of the kernel has to do with memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It is called for it: an allocator, or what makes something new for the module.
    Memory,
    /// It works on files, and may need memory for that.
    Files,
}

/// Allocates, and frees: then without any flags, which are its last argument.
const REALLOC: &str = "<kernel::alloc::allocator::ReallocFunc>::call";

/// Functions that allocate. That none is missing shows in the walk: where one fails that is not
/// here, the walk fails.
const ALLOCATING: &[(&str, Kind)] = &[
    (REALLOC, Kind::Memory),
    ("<kernel::str::CStr>::to_cstring", Kind::Memory),
    (
        "<kernel::str::CString as core::convert::TryFrom<&kernel::str::CStr>>::try_from",
        Kind::Memory,
    ),
    ("<kernel::str::CString>::try_from_fmt", Kind::Memory),
    ("<kernel::uaccess::UserSliceReader>::read_all", Kind::Memory),
    ("__kmalloc_noprof", Kind::Memory),
    ("__kmem_cache_create_args", Kind::Memory),
    ("__xa_alloc_cyclic", Kind::Memory),
    ("__xa_insert", Kind::Memory),
    ("anon_inode_getfile", Kind::Memory),
    ("fscache_acquire_cache", Kind::Memory),
    ("get_unused_fd_flags", Kind::Memory),
    ("kmem_cache_alloc_noprof", Kind::Memory),
    ("misc_register", Kind::Memory),
    ("prepare_creds", Kind::Memory),
    ("prepare_kernel_cred", Kind::Memory),
    ("register_sysctl_sz", Kind::Memory),
    ("kern_path", Kind::Files),
    ("kernel_file_open", Kind::Files),
    ("kernel_tmpfile_open", Kind::Files),
    ("lookup_one_len", Kind::Files),
    ("lookup_positive_unlocked", Kind::Files),
    ("notify_change", Kind::Files),
    ("sync_filesystem", Kind::Files),
    ("touch_atime", Kind::Files),
    ("vfs_fallocate", Kind::Files),
    ("vfs_getxattr", Kind::Files),
    ("vfs_iocb_iter_read", Kind::Files),
    ("vfs_iocb_iter_write", Kind::Files),
    ("vfs_link", Kind::Files),
    ("vfs_llseek", Kind::Files),
    ("vfs_mkdir", Kind::Files),
    ("vfs_removexattr", Kind::Files),
    ("vfs_rename", Kind::Files),
    ("vfs_setxattr", Kind::Files),
    ("vfs_truncate", Kind::Files),
    ("vfs_unlink", Kind::Files),
];

/// Sites of the first kind of which no step reaches all: a part of the function's name, what it
/// calls, and why.
const OUT_OF_REACH: &[(&str, &str, &str)] = &[
    (
        "FileDescriptorReservation>::new",
        "get_unused_fd_flags",
        "the daemon's table of fds would have to grow",
    ),
    (
        "kvec::Vec<u8",
        REALLOC,
        "room is made before something is added",
    ),
    (
        "CacheOps<cachefiles::marker::Cachefiles>>::acquire_volume",
        REALLOC,
        "one is for the coherency data of a volume, and neither EROFS nor 9p has any",
    ),
    (
        "grave::bury",
        "try_from_fmt",
        "one is for another name, where the first one is taken",
    ),
];

/// A return address: a function of the module, and how far behind its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The function's symbol.
    pub function: String,
    /// In bytes.
    pub at: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.function, self.at)
    }
}

impl std::str::FromStr for Place {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (function, at) = text.rsplit_once('+').context("there is no + in it")?;
        Ok(Self {
            function: function.to_owned(),
            at: at.parse().context("no number behind the +")?,
        })
    }
}

/// What came of the failures of a site.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// How often it failed.
    pub times: usize,
    /// In which steps.
    pub steps: BTreeSet<String>,
    /// What these said.
    pub outcomes: BTreeSet<String>,
}

/// All sites of a module.
pub struct Sites {
    calls: Vec<(Call, Kind)>,
    inner: BTreeMap<(String, u64), String>,
    seen: BTreeMap<(String, u64), Seen>,
    /// Failures below functions that are not known to allocate.
    unknown: BTreeSet<String>,
}

/// A name as it stands in the source, without the types that a function is made for.
pub fn plain(symbol: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(symbol));
    match name.split_once("::<") {
        Some((function, _)) => function.to_owned(),
        None => name,
    }
}

fn kind_of(call: &Call) -> Option<Kind> {
    let name = plain(&call.callee);
    if name == REALLOC && call.pushed == Some(0) {
        return None;
    }
    let known = ALLOCATING.iter().find(|(known, _)| *known == name);
    known.map(|(_, kind)| *kind)
}

impl Sites {
    /// Those of a module, none of which has failed yet.
    pub fn of(module: Module) -> Self {
        let calls = module.calls.into_iter();
        Self {
            calls: calls
                .filter_map(|call| kind_of(&call).map(|kind| (call, kind)))
                .collect(),
            inner: module.inner,
            seen: BTreeMap::new(),
            unknown: BTreeSet::new(),
        }
    }

    /// A failure below the return address `at` in `function`, in a step that said `outcome`.
    pub fn note(&mut self, function: &str, at: u64, step: &str, outcome: &str) {
        let place = (function.to_owned(), at);
        let direct = |call: &Call| call.caller == function && call.at == at && !call.is_tail;
        // Where a function ends by calling another, its own caller is what can be seen.
        let ends_in = self.inner.get(&place);
        let tail = |call: &Call| call.is_tail && ends_in == Some(&call.caller);
        let site = self
            .calls
            .iter()
            .find(|(call, _)| direct(call))
            .or_else(|| self.calls.iter().find(|(call, _)| tail(call)));
        let Some((call, _)) = site else {
            let target = ends_in.map_or_else(|| "a callback".into(), |name| plain(name));
            self.unknown
                .insert(format!("{} calls {target}", plain(function)));
            return;
        };
        let seen = self.seen.entry((call.caller.clone(), call.at)).or_default();
        seen.times += 1;
        seen.steps.insert(step.to_owned());
        seen.outcomes.insert(outcome.to_owned());
    }

    fn seen(&self, call: &Call) -> Option<&Seen> {
        self.seen.get(&(call.caller.clone(), call.at))
    }

    /// The sites of a kind, each with what came of it.
    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&Call, Option<&Seen>)> {
        let calls = self.calls.iter().filter(move |(_, known)| *known == kind);
        calls.map(|(call, _)| (call, self.seen(call)))
    }

    /// The sites at which the module asks for memory that were not seen to fail, though they might.
    pub fn unseen(&self) -> Vec<Place> {
        self.of_kind(Kind::Memory)
            .filter(|(call, seen)| seen.is_none() && !call.is_tail)
            .map(|(call, _)| Place {
                function: call.caller.clone(),
                at: call.at,
            })
            .collect()
    }

    /// How many of a kind failed, of how many.
    pub fn count(&self, kind: Kind) -> (usize, usize) {
        let reached = self.of_kind(kind).filter(|(_, seen)| seen.is_some());
        (reached.count(), self.of_kind(kind).count())
    }

    /// The table: a line for each site.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, heading) in [
            (Kind::Memory, "memory that the module asks for"),
            (Kind::Files, "work on files, which may need memory"),
        ] {
            let (reached, all) = self.count(kind);
            lines.push(format!("{heading}: {reached} of {all} sites failed"));
            for (call, seen) in self.of_kind(kind) {
                let name = format!("{} -> {}", plain(&call.caller), plain(&call.callee));
                lines.push(match seen {
                    Some(seen) => {
                        let outcomes: Vec<&str> =
                            seen.outcomes.iter().map(String::as_str).collect();
                        format!(
                            "  {:4} x  {name}: {} [{}]",
                            seen.times,
                            outcomes.join("; "),
                            seen.steps.len()
                        )
                    }
                    None => format!(
                        "  never  {name}{}",
                        reason(call).map_or_else(String::new, |why| format!(": {why}"))
                    ),
                });
            }
        }
        lines.extend(self.unknown.iter().map(|what| format!("  besides: {what}")));
        lines
    }

    /// That every site at which the module asks for memory failed once, but for those that are
    /// known to be out of reach, and that these are still there.
    pub fn check(&self) -> Result<()> {
        let missed: Vec<String> = self
            .of_kind(Kind::Memory)
            .filter(|(call, seen)| seen.is_none() && reason(call).is_none())
            .map(|(call, _)| format!("{} -> {}", plain(&call.caller), plain(&call.callee)))
            .collect();
        ensure!(missed.is_empty(), "never failed:\n{}", missed.join("\n"));
        // One that failed by chance, as when the table of fds grows at that very moment, is
        // welcome.
        for (caller, callee, _) in OUT_OF_REACH {
            let is_there = self
                .of_kind(Kind::Memory)
                .any(|(call, _)| matches_reason(call, caller, callee));
            ensure!(is_there, "{caller} is listed, and calls {callee} no more");
        }
        Ok(())
    }
}

fn matches_reason(call: &Call, caller: &str, callee: &str) -> bool {
    plain(&call.caller).contains(caller) && plain(&call.callee).contains(callee)
}

fn reason(call: &Call) -> Option<&'static str> {
    let known = OUT_OF_REACH
        .iter()
        .find(|(caller, callee, _)| matches_reason(call, caller, callee));
    known.map(|(_, _, why)| *why)
}

/// Reads the module's file.
pub fn read_module(path: &std::path::Path) -> Result<Module> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Module::parse(&bytes).with_context(|| format!("understanding {}", path.display()))
}
