// SPDX-License-Identifier: GPL-2.0
//! What is known of the kernel's modules: those that run, and those that modprobe would take.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::text;

/// Where a module is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is loaded, or a part of the kernel.
    Running,
    /// modprobe would take this file, relative to the kernel's directory of modules.
    Installed(String),
    /// There is none.
    Absent,
}

/// The modules of a kernel.
#[derive(Debug)]
pub struct Modules<'a> {
    root: &'a Path,
    folder: PathBuf,
}

impl<'a> Modules<'a> {
    /// Those of `release` below `root`.
    pub fn new(root: &'a Path, release: &str) -> Self {
        Self {
            root,
            folder: root.join("lib/modules").join(release),
        }
    }

    /// Where the module is.
    pub fn state(&self, name: &str) -> State {
        if self.root.join("sys/module").join(name).exists() || self.is_built_in(name) {
            return State::Running;
        }
        match self.dependencies(name) {
            Some((path, _)) => State::Installed(path),
            None => State::Absent,
        }
    }

    /// Whether the module that modprobe would take uses netfs; `None` if there is no such module,
    /// or netfs is a part of the kernel, which no module is said to depend on.
    pub fn depends_on_netfs(&self, name: &str) -> Option<bool> {
        if self.is_built_in("netfs") {
            return None;
        }
        let (_, others) = self.dependencies(name)?;
        Some(others.split(' ').any(|path| is_module(path, "netfs")))
    }

    /// Whether the running kernel or one of its modules has a symbol that begins with this; `None`
    /// if the kernel does not list its symbols.
    pub fn has_symbol(&self, beginning: &str) -> Option<bool> {
        let file = File::open(self.root.join("proc/kallsyms")).ok()?;
        let found = BufReader::new(file)
            .lines()
            .map_while(Result::ok)
            .any(|line| {
                let symbol = line.split_whitespace().nth(2);
                symbol.is_some_and(|symbol| symbol.starts_with(beginning))
            });
        Some(found)
    }

    fn is_built_in(&self, name: &str) -> bool {
        text(&self.folder.join("modules.builtin"))
            .lines()
            .any(|path| is_module(path, name))
    }

    /// The file of a module, and what it depends on, as depmod wrote them: of several files with
    /// one name, the one that modprobe takes.
    fn dependencies(&self, name: &str) -> Option<(String, String)> {
        text(&self.folder.join("modules.dep"))
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(path, _)| is_module(path, name))
            .map(|(path, others)| (path.to_owned(), others.trim().to_owned()))
    }
}

/// Whether the file is that module, compressed or not.
fn is_module(path: &str, name: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split_once(".ko")
        .is_some_and(|(stem, rest)| stem == name && (rest.is_empty() || rest.starts_with('.')))
}

/// The parameters of the module that modprobe would take, as modinfo lists them.
pub fn parameters(name: &str) -> Option<String> {
    let output = Command::new("modinfo")
        .args(["-F", "parm", name])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
