// SPDX-License-Identifier: GPL-2.0
//! Tracepoints: recording them during a workload, and putting what was recorded into a normal form in
//! which ids, inode numbers and fds are counted in the order of their appearance.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

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
}

impl Tracing {
    /// Switches all of them on, with an empty buffer that is large enough for a workload.
    pub fn start() -> Result<Self> {
        let dir = tracing()?;
        fs::write(dir.join("buffer_size_kb"), "4096").context("the size of the trace buffer")?;
        fs::write(dir.join("trace"), "").context("emptying the trace")?;
        let tracing = Self { dir };
        fs::write(tracing.switch(), "1").context("switching the tracepoints on")?;
        Ok(tracing)
    }

    fn switch(&self) -> PathBuf {
        self.dir.join("events/cachefiles/enable")
    }

    /// What was traced so far; the buffer is empty afterwards.
    pub fn take(&self) -> Result<Trace> {
        let text = fs::read_to_string(self.dir.join("trace")).context("reading the trace")?;
        fs::write(self.dir.join("trace"), "").context("emptying the trace")?;
        ensure!(!text.contains("[LOST"), "events were lost");
        Ok(Trace::parse(&text))
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

/// What a workload left in the trace.
#[derive(Debug, Default)]
pub struct Trace {
    /// In the order in which they happened.
    pub events: Vec<Event>,
}

/// Numbers things in the order in which they are first met.
#[derive(Default)]
struct Numbers(BTreeMap<(&'static str, String), usize>);

impl Numbers {
    fn of(&mut self, class: &'static str, id: &str) -> usize {
        let next = 1 + self.0.keys().filter(|(known, _)| *known == class).count();
        *self.0.entry((class, id.to_owned())).or_insert(next)
    }
}

impl Trace {
    /// Takes a trace apart.
    pub fn parse(text: &str) -> Self {
        let mut numbers = Numbers::default();
        let mut events = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, fields)) = line
                .split_once(" cachefiles_")
                .and_then(|(_, rest)| rest.split_once(": "))
            else {
                continue;
            };
            let mut object = 0;
            let words: Vec<String> = fields
                .split_whitespace()
                .map(|word| {
                    let (text, number) = normal(name, word, &mut numbers);
                    if let Some(number) = number {
                        object = number;
                    }
                    text
                })
                .collect();
            events.push(Event {
                name: name.to_owned(),
                object,
                text: words.join(" "),
            });
        }
        Self { events }
    }

    /// The events of one name, object by object: their texts.
    pub fn of(&self, name: &str) -> Vec<&str> {
        let mut events: Vec<&Event> = self
            .events
            .iter()
            .filter(|event| event.name == name)
            .collect();
        events.sort_by_key(|event| event.object);
        events.iter().map(|event| event.text.as_str()).collect()
    }

    /// The names of the events of one object, in order.
    pub fn order(&self, object: usize) -> Vec<&str> {
        self.events
            .iter()
            .filter(|event| event.object == object)
            .map(|event| event.name.as_str())
            .collect()
    }

    /// How many objects there are.
    pub fn objects(&self) -> usize {
        self.events
            .iter()
            .map(|event| event.object)
            .max()
            .unwrap_or(0)
    }
}

/// A field with its id counted; and the number, where it is that of the object.
fn normal(event: &str, word: &str, numbers: &mut Numbers) -> (String, Option<usize>) {
    let Some((key, id)) = word.split_once('=') else {
        return (word.to_owned(), None);
    };
    let none = id.bytes().all(|byte| byte == b'0') || id == "ffffffff";
    let class = match (event, key) {
        (_, "o") => "object",
        ("coherency", "c") => return (word.to_owned(), None),
        (_, "c") => "cookie",
        (_, "V") => "volume",
        (_, "B" | "dB" | "sB" | "iB") => "inode",
        (_, "ni") => "client's inode",
        (_, "fd") => return ("fd=*".into(), None),
        _ => return (word.to_owned(), None),
    };
    if none {
        return (word.to_owned(), None);
    }
    let number = numbers.of(class, id);
    (
        format!("{key}={number}"),
        (class == "object").then_some(number),
    )
}

/// A list with what is repeated said once.
pub fn brief(items: &[&str]) -> String {
    let mut parts: Vec<(String, usize)> = Vec::new();
    for item in items {
        match parts.last_mut() {
            Some((last, count)) if last == item => *count += 1,
            _ => parts.push(((*item).to_owned(), 1)),
        }
    }
    let parts: Vec<String> = parts
        .into_iter()
        .map(|(item, count)| {
            if count == 1 {
                item
            } else {
                format!("{count} x {item}")
            }
        })
        .collect();
    if parts.is_empty() {
        "none".into()
    } else {
        parts.join("\n")
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
    fn ids_are_counted() {
        let trace = Trace::parse(TEXT);
        assert_eq!(
            trace.of("ref"),
            ["c=1 o=1 u=1 NEW obj", "c=2 o=2 u=1 NEW obj"]
        );
        assert_eq!(trace.of("lookup"), ["o=00000000 dB=1 B=2 e=0"]);
        assert_eq!(trace.of("coherency"), ["o=1 OK B=2 c=0"]);
        assert_eq!(trace.order(1), ["ref", "coherency"]);
        assert_eq!(trace.objects(), 2);
    }

    #[test]
    fn repetition_is_said_once() {
        assert_eq!(brief(&["a", "a", "b"]), "2 x a\nb");
        assert_eq!(brief(&[]), "none");
    }
}
