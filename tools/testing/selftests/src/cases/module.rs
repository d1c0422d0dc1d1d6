// SPDX-License-Identifier: GPL-2.0
//! The module as such: parameter, sysctl, log, injected errors, limits of space.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{AlignedBuffer, Errno, key_path};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FallocateFlags, fallocate};

use super::object_fd::image;
use crate::context::{Context, TAG, expect_errno};
use crate::image::BLOCK;
use crate::registry::{Skip, Test, test};
use crate::session::{Session, blobs_of};
use crate::sys;

pub const TESTS: &[Test] = &[
    test!(
        debug_parameter_can_be_read_and_written_by_root,
        "the documented way to debug"
    ),
    test!(
        module_can_be_loaded_and_removed_over_and_over,
        "CVE-2024-46786: loading gives everything back"
    ),
    test!(
        injected_enospc_fails_the_write_of_a_daemon,
        "a full disk is an error of the write, not of the cache"
    ),
    test!(
        cache_below_its_cull_limit_polls_out,
        "a culling daemon is told to start"
    ),
    test!(
        cache_below_its_stop_limit_stores_nothing_new,
        "a full disk is left alone"
    ),
    test!(
        inuse_and_cull_of_an_object_in_use_are_refused_with_ebusy,
        "nothing in use is culled"
    ),
    test!(
        culled_object_is_fetched_again,
        "culling frees space and loses nothing"
    ),
    test!(
        cull_of_what_is_not_there_is_an_error,
        "a culling daemon is told that it is late"
    ),
    test!(
        fscache_counts_the_same_events,
        "the statistics mean what they did"
    ),
];

const FSID: &str = "module";

fn debug_parameter_can_be_read_and_written_by_root(_: &Context) -> Result<()> {
    let path = "/sys/module/cachefiles/parameters/debug";
    let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
    ensure!(mode == 0o644, "mode {mode:o}");
    ensure!(fs::read_to_string(path)?.trim() == "0", "debugging is on");
    fs::write(path, "8")?;
    ensure!(
        fs::read_to_string(path)?.trim() == "8",
        "the value was not stored"
    );
    ensure!(fs::write(path, "x").is_err(), "nonsense was stored");
    fs::write(path, "0").context("switching it off")
}

fn module_can_be_loaded_and_removed_over_and_over(ctx: &Context) -> Result<()> {
    for _ in 0..10 {
        ctx.load_own_module()?;
    }
    drop(ctx.bound_device()?);
    Ok(())
}

/// Makes reads and writes of the cache files fail until dropped.
pub(super) struct Injection;

const INJECTION: &str = "/proc/sys/cachefiles/error_injection";

impl Injection {
    /// Skips the test on a kernel without it.
    pub(super) fn needed() -> Result<()> {
        if !Path::new("/proc/config.gz").exists() && !Path::new(INJECTION).exists() {
            return Err(Skip("the kernel is built without error injection".into()).into());
        }
        Ok(())
    }

    pub(super) fn start(value: &str) -> Result<Self> {
        Self::needed()?;
        fs::write(INJECTION, value).context("switching error injection on")?;
        Ok(Self)
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // Gone with the module in the worst case.
        let _ = fs::write(INJECTION, "0");
    }
}

fn injected_enospc_fails_the_write_of_a_daemon(ctx: &Context) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    let page = AlignedBuffer::new(BLOCK);
    let injection = Injection::start("1")?;
    let written = session.object_of(b"blob")?.1.fd.write_at(&page, 0);
    drop(injection);
    expect_errno(written, Errno::NOSPC, "a write with ENOSPC injected")?;
    session
        .check_files(&mount, &image())
        .context("after the injection")?;
    session.unmount(mount)?;
    session.settle()
}

/// A session whose cache has the given limits.
fn limited(ctx: &Context, limits: &[&str]) -> Result<Session> {
    let device = ctx.device()?;
    for limit in limits {
        device.command(limit).context((*limit).to_owned())?;
    }
    device.bind_ondemand(sys::CACHE.as_ref(), Some(TAG))?;
    Ok(Session::new(device.into(), blobs_of(FSID, &image())))
}

fn polls(session: &Session) -> Result<PollFlags> {
    let mut fds = [PollFd::new(
        &*session.device,
        PollFlags::IN | PollFlags::OUT,
    )];
    poll(
        &mut fds,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    )?;
    Ok(fds[0].revents())
}

/// What a fresh file system has in use and reserved differs: takes a twentieth of it for a file
/// beside the cache.
fn use_some_of_the_disk() -> Result<()> {
    let stats = rustix::fs::statvfs(sys::CACHE)?;
    let file = fs::File::create(Path::new(sys::CACHE).join("ballast"))?;
    let length = stats.f_blocks * stats.f_frsize / 20;
    fallocate(&file, FallocateFlags::empty(), 0, length).context("taking room")
}

fn cache_below_its_cull_limit_polls_out(ctx: &Context) -> Result<()> {
    use_some_of_the_disk()?;
    let mut session = limited(ctx, &["brun 99%", "bcull 98%", "bstop 0%"])?;
    ensure!(
        polls(&session)? == PollFlags::OUT,
        "polls as {:?}",
        polls(&session)?
    );
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.check_files(&mount, &image())?;
    session.unmount(mount)?;
    session.settle()?;
    drop(session);
    let session = limited(ctx, &["bcull 2%", "brun 3%"])?;
    ensure!(
        polls(&session)?.is_empty(),
        "polls as {:?}",
        polls(&session)?
    );
    Ok(())
}

fn cache_below_its_stop_limit_stores_nothing_new(ctx: &Context) -> Result<()> {
    // The directories of the cache itself are something new, too.
    let limits = ["brun 99%", "bcull 98%", "bstop 97%"];
    use_some_of_the_disk()?;
    ensure!(
        limited(ctx, &limits).is_err(),
        "a cache was made on a full disk"
    );
    drop(ctx.bound_device()?);
    let mut session = limited(ctx, &limits)?;
    let mount = session.try_mount(&ctx.mount_point(FSID), format!("fsid={FSID}").as_bytes())?;
    ensure!(mount.is_err(), "something new was stored on a full disk");
    ensure!(
        session.log.opens.is_empty(),
        "OPENs: {:?}",
        session.log.opens
    );
    session.settle()
}

/// Gives a command with the directory of a cache file as the working directory.
fn command_at(session: &Session, path: &Path, verb: &str) -> Result<Result<(), Errno>> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .context("a name that is no text")?;
    std::env::set_current_dir(path.parent().context("no parent")?)?;
    let result = session.device.command(&format!("{verb} {name}"));
    std::env::set_current_dir("/")?;
    Ok(result)
}

fn blob_path() -> std::path::PathBuf {
    Path::new(sys::CACHE).join(key_path(format!("erofs,{FSID}").as_bytes(), b"blob"))
}

/// A cache with an image in it, unmounted.
fn filled(ctx: &Context) -> Result<Session> {
    let mut session = ctx.session(FSID, &image())?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.check_files(&mount, &image())?;
    session.unmount(mount)?;
    session.settle()?;
    session.log = Default::default();
    Ok(session)
}

fn inuse_and_cull_of_an_object_in_use_are_refused_with_ebusy(ctx: &Context) -> Result<()> {
    let mut session = filled(ctx)?;
    let path = blob_path();
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    for verb in ["inuse", "cull"] {
        expect_errno(command_at(&session, &path, verb)?, Errno::BUSY, verb)?;
    }
    session.check_files(&mount, &image())?;
    session.unmount(mount)?;
    session.settle()?;
    command_at(&session, &path, "inuse")?.context("inuse of a file that nobody uses")
}

fn culled_object_is_fetched_again(ctx: &Context) -> Result<()> {
    let mut session = filled(ctx)?;
    let path = blob_path();
    command_at(&session, &path, "cull")?.context("cull")?;
    ensure!(!path.exists(), "{} is still there", path.display());
    let again = command_at(&session, &path, "cull")?;
    ensure!(
        matches!(again, Err(Errno::NOENT | Errno::STALE)),
        "the same again: {again:?}"
    );
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.check_files(&mount, &image())?;
    let object = session.object_of(b"blob")?.0;
    ensure!(
        session
            .log
            .reads
            .iter()
            .any(|read| read.object_id == object),
        "nothing was fetched"
    );
    session.unmount(mount)?;
    session.settle()?;
    ensure!(path.exists(), "it was not stored again");
    Ok(())
}

fn cull_of_what_is_not_there_is_an_error(ctx: &Context) -> Result<()> {
    let session = filled(ctx)?;
    let missing = blob_path().with_file_name("missing");
    for verb in ["inuse", "cull"] {
        let result = command_at(&session, &missing, verb)?;
        ensure!(
            matches!(result, Err(Errno::NOENT | Errno::STALE)),
            "{verb}: {result:?}"
        );
    }
    for command in ["cull a/b", "inuse ../x"] {
        expect_errno(session.device.command(command), Errno::INVAL, command)?;
    }
    Ok(())
}

/// The counters of `/proc/fs/fscache/stats` as `Group:name` to value.
fn counters() -> Result<std::collections::BTreeMap<String, i64>> {
    let text = fs::read_to_string("/proc/fs/fscache/stats")?;
    let mut counters = std::collections::BTreeMap::new();
    for line in text.lines() {
        let Some((group, rest)) = line.split_once(':') else {
            continue;
        };
        for field in rest.split_whitespace() {
            if let Some((name, value)) = field.split_once('=') {
                if let Ok(value) = value.parse() {
                    counters.insert(format!("{}:{name}", group.trim()), value);
                }
            }
        }
    }
    Ok(counters)
}

fn fscache_counts_the_same_events(ctx: &Context) -> Result<()> {
    let before = counters()?;
    let session = filled(ctx)?;
    let after = counters()?;
    let moved =
        |name: &str| after.get(name).copied().unwrap_or(0) - before.get(name).copied().unwrap_or(0);
    drop(session);
    let changes: Vec<String> = after
        .keys()
        .filter(|name| moved(name) != 0)
        .map(|name| format!("{name} {:+}", moved(name)))
        .collect();
    for (name, expected) in EXPECTED_COUNTS {
        ensure!(
            moved(name) == *expected,
            "{name} moved by {} ({changes:?})",
            moved(name)
        );
    }
    Ok(())
}

/// Seen with the C module: two objects acquired and given up, four ranges stored and read.
const EXPECTED_COUNTS: &[(&str, i64)] = &[
    ("Acquire:n", 2),
    ("Acquire:ok", 2),
    ("Relinqs:n", 2),
    ("Relinqs:drop", 2),
    ("IO:rd", 4),
    ("IO:wr", 4),
];
