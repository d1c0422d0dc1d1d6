// SPDX-License-Identifier: GPL-2.0
//! Tracepoints: recording them during a workload, and putting what was recorded into a normal form
//! in which ids, inode numbers and fds are counted in the order of their appearance.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::sys;

/// Names of all tracepoints, without the common prefix.
pub const EVENTS: [&str; 25] = [
    "ref",
    "lookup",
    "mkdir",
    "tmpfile",
    "link",
    "unlink",
    "rename",
    "coherency",
    "vol_coherency",
    "prep_read",
    "read",
    "write",
    "trunc",
    "mark_active",
    "mark_failed",
    "mark_inactive",
    "vfs_error",
    "io_error",
    "ondemand_open",
    "ondemand_copen",
    "ondemand_close",
    "ondemand_read",
    "ondemand_cread",
    "ondemand_fd_write",
    "ondemand_fd_release",
];

/// The tracing directory.
pub fn tracing() -> Result<PathBuf> {
    let dir = Path::new("/sys/kernel/tracing");
    ensure!(
        dir.join("events").exists(),
        "no tracefs at {}",
        dir.display()
    );
    Ok(dir.to_owned())
}

/// The tracepoints switched on; off again when dropped.
pub struct Tracing {
    dir: PathBuf,
    names: Names,
}

impl Tracing {
    /// Switches all of them on, with an empty buffer that is large enough for a workload.
    pub fn start() -> Result<Self> {
        let dir = tracing()?;
        fs::write(dir.join("buffer_size_kb"), "4096").context("the size of the trace buffer")?;
        fs::write(dir.join("trace"), "").context("emptying the trace")?;
        let names = Names::default();
        let tracing = Self { dir, names };
        fs::write(tracing.switch(), "1").context("switching the tracepoints on")?;
        Ok(tracing)
    }

    fn switch(&self) -> PathBuf {
        self.dir.join("events/cachefiles/enable")
    }

    /// What was traced so far; the buffer is empty afterwards. Ids go on being counted.
    pub fn take(&mut self) -> Result<Trace> {
        let text = fs::read_to_string(self.dir.join("trace")).context("reading the trace")?;
        fs::write(self.dir.join("trace"), "").context("emptying the trace")?;
        ensure!(!text.contains("[LOST"), "events were lost");
        self.names.learn_directories(Path::new(sys::CACHE))?;
        Ok(Trace::parse(&text, &mut self.names))
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        // Gone with the module in the worst case.
        let _ = fs::write(self.switch(), "0");
    }
}

/// An event: its name without the prefix, and its fields in a normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Name.
    pub name: String,
    /// The object it is about, counted from 1; 0 for none.
    pub object: usize,
    /// The text, with ids counted.
    pub text: String,
}

/// What a step of a workload left in the trace.
#[derive(Debug, Default)]
pub struct Trace {
    /// In the order in which they happened.
    pub events: Vec<Event>,
}

/// What ids stand for. Things are counted in the order in which they are first met; directories
/// have the names that they have on the disk, the files of an object are counted for each object.
#[derive(Debug, Default)]
struct Names {
    numbers: BTreeMap<(String, u64), usize>,
    directories: BTreeMap<u64, String>,
}

impl Names {
    fn number(&mut self, class: &str, id: u64) -> usize {
        let next = 1 + self
            .numbers
            .keys()
            .filter(|(known, _)| known == class)
            .count();
        *self.numbers.entry((class.to_owned(), id)).or_insert(next)
    }

    fn inode(&mut self, object: usize, id: u64) -> String {
        match self.directories.get(&id) {
            Some(name) => name.clone(),
            None if object > 0 => {
                format!("file{}", self.number(&format!("file of {object}"), id))
            }
            None => "?".into(),
        }
    }

    /// Directories below `root`, by inode. Those that only fan files out are all called the same.
    fn learn_directories(&mut self, root: &Path) -> Result<()> {
        let mut left = vec![root.to_owned()];
        while let Some(dir) = left.pop() {
            let name = dir.strip_prefix(root)?.to_string_lossy().into_owned();
            let name = match name.rsplit_once("/@") {
                Some((volume, _)) => format!("{volume}/@*"),
                None if name.starts_with("graveyard/") => "graveyard/*".into(),
                None if name.is_empty() => "root".into(),
                None => name,
            };
            self.directories.insert(fs::metadata(&dir)?.ino(), name);
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    left.push(entry.path());
                }
            }
        }
        Ok(())
    }
}

impl Trace {
    /// Takes a trace apart.
    fn parse(text: &str, names: &mut Names) -> Self {
        let events = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(" cachefiles_")?.1.split_once(": "))
            .map(|(name, fields)| Event::parse(name, fields, names))
            .collect();
        Self { events }
    }

    /// The texts of the events of one name, object by object.
    pub fn of(&self, name: &str) -> Vec<&str> {
        let mut events: Vec<&Event> = self
            .events
            .iter()
            .filter(|event| event.name == name)
            .collect();
        events.sort_by_key(|event| event.object);
        events.iter().map(|event| event.text.as_str()).collect()
    }

    /// The names of the events of one object, in order; without those of `without`.
    pub fn order(&self, object: usize, without: &[&str]) -> Vec<&str> {
        self.events
            .iter()
            .filter(|event| event.object == object && !without.contains(&event.name.as_str()))
            .map(|event| event.name.as_str())
            .collect()
    }

    /// The objects that there are.
    pub fn objects(&self) -> BTreeSet<usize> {
        let objects = self.events.iter().map(|event| event.object);
        objects.filter(|object| *object > 0).collect()
    }
}

impl Event {
    fn parse(name: &str, fields: &str, names: &mut Names) -> Self {
        let id = |word: &str| -> Option<u64> { u64::from_str_radix(word, 16).ok() };
        let object = fields
            .split_whitespace()
            .find_map(|word| id(word.strip_prefix("o=")?))
            .filter(|id| *id != 0 && *id != u64::from(u32::MAX))
            .map_or(0, |id| names.number("object", id));
        let words: Vec<String> = fields
            .split_whitespace()
            .filter_map(|word| {
                let Some((key, value)) = word.split_once('=') else {
                    return Some(word.to_owned());
                };
                let text = match (name, key) {
                    // How many references there are is the module's own affair, and a matter of
                    // timing.
                    ("ref", "u") => return None,
                    (_, "o") if object == 0 => value.to_owned(),
                    (_, "o") => object.to_string(),
                    ("coherency", "c") => value.to_owned(),
                    (_, "c") => names.number("cookie", id(value)?).to_string(),
                    (_, "V") => names.number("volume", id(value)?).to_string(),
                    (_, "ni") if id(value) == Some(0) => "0".into(),
                    (_, "ni") => names.number("client's inode", id(value)?).to_string(),
                    // Whether the file is there already while nothing is read from it is chance.
                    ("prep_read", "B") if object == 0 => "*".into(),
                    (_, "B" | "dB" | "sB" | "iB") if id(value) == Some(0) => "0".into(),
                    (_, "B" | "dB" | "sB" | "iB") => names.inode(object, id(value)?),
                    (_, "fd") => "*".into(),
                    // Ids of messages are counted for each object, for others come in between. That
                    // no object has the id 0 tells where the ids are not set.
                    (_, "mid") if fields.contains("oid=0 ") || fields.ends_with("oid=0") => {
                        "none".into()
                    }
                    (_, "mid") => names
                        .number(&format!("message of {object}"), id(value)?)
                        .to_string(),
                    _ => value.to_owned(),
                };
                Some(format!("{key}={text}"))
            })
            .collect();
        Self {
            name: name.to_owned(),
            object,
            text: words.join(" "),
        }
    }
}

/// A list with neighbours that are equal said once.
pub fn brief(items: &[&str]) -> String {
    let mut parts: Vec<(&str, usize)> = Vec::new();
    for item in items {
        match parts.last_mut() {
            Some((last, count)) if last == item => *count += 1,
            _ => parts.push((item, 1)),
        }
    }
    let parts: Vec<String> = parts
        .into_iter()
        .map(|(item, count)| match count {
            1 => item.to_owned(),
            _ => format!("{count} x {item}"),
        })
        .collect();
    if parts.is_empty() {
        "none".into()
    } else {
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# tracer: nop\n\
        mount-12 [000] ..... 1.0: cachefiles_ref: c=00000007 o=00000003 u=1 NEW obj\n\
        mount-12 [001] ..... 1.1: cachefiles_lookup: o=00000000 dB=c B=d e=0\n\
        mount-12 [001] ..... 1.2: cachefiles_coherency: o=00000003 OK       B=d c=0\n\
        mount-12 [001] ..... 1.3: cachefiles_ref: c=00000009 o=00000004 u=1 NEW obj\n";

    #[test]
    fn ids_have_names() {
        let mut names = Names::default();
        names.directories.insert(12, "cache/Ix".into());
        let trace = Trace::parse(TEXT, &mut names);
        assert_eq!(trace.of("ref"), ["c=1 o=1 NEW obj", "c=2 o=2 NEW obj"]);
        assert_eq!(trace.of("lookup"), ["o=00000000 dB=cache/Ix B=? e=0"]);
        assert_eq!(trace.of("coherency"), ["o=1 OK B=file1 c=0"]);
        assert_eq!(trace.order(1, &[]), ["ref", "coherency"]);
        assert_eq!(trace.order(1, &["ref"]), ["coherency"]);
        assert_eq!(trace.objects().into_iter().collect::<Vec<_>>(), [1, 2]);
        // They go on being counted.
        let later = "x [0] 2.0: cachefiles_ref: c=00000009 o=00000004 u=3 PUT detach\n";
        let later = Trace::parse(later, &mut names);
        assert_eq!(later.of("ref"), ["c=2 o=2 PUT detach"]);
    }

    #[test]
    fn repetition_is_said_once() {
        assert_eq!(brief(&["a", "a", "b"]), "2 x a; b");
        assert_eq!(brief(&[]), "none");
    }
}
