// SPDX-License-Identifier: GPL-2.0
//! The cache's file system is frozen, as for a snapshot, or becomes read-only: nothing is changed
//! there then. ext4 warns where something is.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_protocol::{Device, Errno};
use rustix::mount::{MountFlags, mount_remount};

use super::world::{BLOCK, Client, Server, command_at, filled, polls, stored_files};
use crate::context::{Context, expect_errno};
use crate::image::pattern;
use crate::kmsg::KernelLog;
use crate::raw;
use crate::registry::{Test, test};
use crate::share;
use crate::sys;
use crate::task::{Task, a_worker_waits_to_write, soon};

pub const TESTS: &[Test] = &[
    test!(
        frozen_file_system_has_nothing_culled,
        "D24: a snapshot is of one moment"
    )
    .c_skips("it unlinks and moves on a frozen file system, where ext4 warns"),
    test!(
        frozen_file_system_gets_no_files,
        "D24: a snapshot is of one moment"
    )
    .c_skips("it makes and names files on a frozen file system, where ext4 warns"),
    test!(
        frozen_file_system_serves_what_it_has,
        "D24: what is cached is read while a snapshot is made"
    ),
    test!(
        frozen_file_system_holds_up_only_who_makes_a_directory,
        "D24: what is cached is read, also beside somebody who has to wait"
    )
    .c_skips("it makes directories on a frozen file system, where ext4 warns"),
    test!(
        frozen_file_system_holds_up_no_other_command,
        "D24: a daemon that culls while a snapshot is made does its other work"
    )
    .c_skips("it unlinks on a frozen file system, where ext4 warns"),
    test!(
        read_only_file_system_gets_no_files,
        "D24: a file system that an error made read-only is left alone"
    )
    .c_skips("it makes directories on a read-only file system, where ext4 warns"),
];

/// The cache's file system, on which nobody can write.
pub(in crate::cases) struct Frozen(File);

impl Frozen {
    pub(in crate::cases) fn new() -> Result<Self> {
        let root = File::open(sys::CACHE)?;
        raw::freeze(&root).context("freezing the cache's file system")?;
        Ok(Self(root))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // An error would mean that it is not frozen.
        let _ = raw::thaw(&self.0);
    }
}

fn data() -> Vec<u8> {
    pattern(71, 5 * BLOCK)
}

/// What lies in the cache's directories.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stored {
    path: PathBuf,
    /// Another one is another file, whatever its name.
    inode: u64,
    /// Of a file, what it holds.
    content: Option<Vec<u8>>,
}

/// All of it.
fn stored() -> Result<Vec<Stored>> {
    let mut stored = Vec::new();
    let mut dirs = vec![PathBuf::from(sys::CACHE)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
            let (path, metadata) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
            let content = if metadata.is_dir() {
                dirs.push(path.clone());
                None
            } else {
                Some(fs::read(&path).with_context(|| format!("reading {}", path.display()))?)
            };
            stored.push(Stored {
                path,
                inode: metadata.ino(),
                content,
            });
        }
    }
    stored.sort();
    Ok(stored)
}

/// That nothing has changed.
fn check_same(what: &str, before: &[Stored], after: &[Stored]) -> Result<()> {
    let only_in = |these: &[Stored], those: &[Stored]| -> Vec<_> {
        let these = these.iter().filter(|stored| !those.contains(stored));
        these
            .map(|stored| format!("{} ({})", stored.path.display(), stored.inode))
            .collect()
    };
    let (gone, new) = (only_in(before, after), only_in(after, before));
    ensure!(
        gone.is_empty() && new.is_empty(),
        "{what}: {gone:?} became {new:?}"
    );
    Ok(())
}

/// That `change`, begun while the file system is frozen, is made once it is not any more.
fn waits<T, F>(what: &str, change: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    let before = stored()?;
    let frozen = Frozen::new()?;
    let task = Task::start(what, change);
    sleep(Duration::from_millis(500));
    let meanwhile = stored()?;
    let waited = !task.is_done();
    drop(frozen);
    ensure!(waited, "{what} did not wait");
    let result = task.finish()?.with_context(|| what.to_owned())?;
    check_same(what, &before, &meanwhile)?;
    Ok(result)
}

fn cull(device: Device, path: &Path) -> Result<Device> {
    command_at(&device, path, "cull")?.context("cull")?;
    Ok(device)
}

fn frozen_file_system_has_nothing_culled(ctx: &Context) -> Result<()> {
    let (_server, device, file) = filled(ctx, &data())?;
    let volume = file.ancestors().nth(2).context("no volume")?.to_owned();
    let victim = file.clone();
    let device = waits("culling a file", move || cull(device, &victim))?;
    ensure!(!file.exists(), "{} was not culled", file.display());
    let victim = volume.clone();
    let _device = waits("culling a volume", move || cull(device, &victim))?;
    ensure!(!volume.exists(), "{} was not culled", volume.display());
    Ok(())
}

fn frozen_file_system_gets_no_files(ctx: &Context) -> Result<()> {
    let (server, _device, _path) = filled(ctx, &data())?;
    let other = Client::mount_as(ctx, "other")?;
    let other = waits("reading through a new volume", move || {
        other.check("file", &data())?;
        Ok(other)
    })?;
    other.unmount()?;
    let stored = stored_files()?.len();
    ensure!(stored == 2, "{stored} files are stored, not 2");

    server.put("second", &data())?;
    let client = Client::mount(ctx)?;
    client.check("second", &data())?;
    waits("putting a file away", move || client.unmount())?;
    let stored = stored_files()?.len();
    ensure!(stored == 3, "{stored} files are stored, not 3");

    server.change("second", &pattern(72, BLOCK))?;
    let client = Client::mount(ctx)?;
    waits("replacing a stale file", move || {
        client.check("second", &pattern(72, BLOCK))?;
        client.unmount()
    })?;
    let client = Client::mount(ctx)?;
    client.check_warm("second", &pattern(72, BLOCK))?;
    client.unmount()
}

fn frozen_file_system_serves_what_it_has(ctx: &Context) -> Result<()> {
    let (_server, _device, _path) = filled(ctx, &data())?;
    let frozen = Frozen::new()?;
    let client = Client::mount(ctx)?;
    client.check_warm("file", &data())?;
    drop(frozen);
    client.unmount()
}

/// A file of the server whose cache file is to lie in a directory that there is not yet.
fn file_of_a_new_directory(server: &Server, client: &Client) -> Result<String> {
    for number in 0..64 {
        let name = format!("new{number}");
        server.put(&name, &data())?;
        let path = client.cache_file(&name)?;
        if !path.parent().context("no parent")?.exists() {
            return Ok(name);
        }
    }
    bail!("64 files, and all in the same directory")
}

fn frozen_file_system_holds_up_only_who_makes_a_directory(ctx: &Context) -> Result<()> {
    let (server, _device, _path) = filled(ctx, &data())?;
    let client = Arc::new(Client::mount(ctx)?);
    let name = file_of_a_new_directory(&server, &client)?;
    let read = |what: &str, read: fn(&Client, &str) -> Result<()>, name: &str| {
        let (client, name) = (Arc::clone(&client), name.to_owned());
        Task::start(what, move || read(&client, &name))
    };
    let frozen = Frozen::new()?;
    let waiting = read(
        "reading a new file",
        |client, name| client.check(name, &data()),
        &name,
    );
    sys::wait_for("who makes a directory to wait", soon(), || {
        a_worker_waits_to_write()
    })?;
    let cached = read(
        "reading what is cached",
        |client, name| client.check_warm(name, &data()),
        "file",
    );
    cached.finish()??;
    ensure!(!waiting.is_done(), "a new file did not wait");
    drop(frozen);
    waiting.finish()??;
    let client = Arc::into_inner(client).context("a client in use")?;
    let path = client.cache_file(&name)?;
    client.unmount()?;
    ensure!(path.exists(), "{} was not stored", path.display());
    Ok(())
}

fn frozen_file_system_holds_up_no_other_command(ctx: &Context) -> Result<()> {
    let (_server, device, file) = filled(ctx, &data())?;
    let device = Arc::new(device);
    let frozen = Frozen::new()?;
    let culling = {
        let (device, victim) = (Arc::clone(&device), file.clone());
        Task::start("culling", move || command_at(&device, &victim, "cull"))
    };
    sys::wait_for("the cull to wait", soon(), || culling.waits_to_write())?;
    let others = {
        let device = Arc::clone(&device);
        Task::start("other commands", move || -> Result<()> {
            device.command("debug 0").context("debug")?;
            expect_errno(device.command("tag x"), Errno::EXIST, "tag")?;
            polls(&device).map(drop)
        })
    };
    others.finish()??;
    ensure!(!culling.is_done(), "a file was culled meanwhile");
    drop(frozen);
    culling.finish()??.context("cull")?;
    ensure!(!file.exists(), "{} was not culled", file.display());
    Ok(())
}

/// Makes it read-only for as long as this lives.
struct ReadOnly;

impl ReadOnly {
    fn new() -> Result<Self> {
        // The last file is closed a moment after its cookie is gone.
        sys::wait_for("the cache to have no open files", soon(), || {
            mount_remount(sys::CACHE, MountFlags::RDONLY, c"").is_ok()
        })?;
        Ok(Self)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // What comes next says so if it did not become writable.
        let _ = mount_remount(sys::CACHE, MountFlags::empty(), c"");
    }
}

fn read_only_file_system_gets_no_files(ctx: &Context) -> Result<()> {
    let (server, device, file) = filled(ctx, &data())?;
    server.put("second", &data())?;
    let before = stored()?;
    let mut log = KernelLog::from_now()?;
    let read_only = ReadOnly::new()?;
    for tag in ["selftest", "other"] {
        let client = Client::mount_as(ctx, tag)?;
        for name in ["file", "second"] {
            client.check(name, &data())?;
        }
        client.unmount()?;
    }
    let culled = command_at(&device, &file, "cull")?;
    let meanwhile = stored()?;
    drop(read_only);
    expect_errno(culled, Errno::ROFS, "cull")?;
    check_same("a read-only file system", &before, &meanwhile)?;
    let lines = log.lines()?;
    let told = lines
        .iter()
        .filter(|line| line.contains("read-only: nothing is stored"));
    ensure!(told.count() == 1, "it is not told of once: {lines:?}");

    let client = Client::mount(ctx)?;
    client.check("second", &data())?;
    client.unmount()?;
    share::wait_for_no_cookies()?;
    let client = Client::mount(ctx)?;
    client.check_warm("second", &data())?;
    client.unmount()
}
