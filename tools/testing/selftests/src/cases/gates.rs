// SPDX-License-Identifier: GPL-2.0
//! What can be had as it is in the C module, by a parameter of ours.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;
use rustix::io::FdFlags;

use super::restore::{finish, one_read_in_flight, two_blobs};
use crate::context::{Context, expect_io_errno};
use crate::image::Image;
use crate::raw;
use crate::registry::{Test, test};
use crate::session::{Blobs, Mount, Session};
use crate::task::{ReadTask, soon};

pub const TESTS: &[Test] = &[
    test!(
        parameter_inherit_fds_keeps_object_fds_over_exec,
        "FAULTS 5: a daemon that replaces itself by exec can go on with its fds"
    )
    .c_skips("it has no such parameter, and always does so"),
    test!(
        parameter_reopen_tries_bounds_how_often_a_reopening_is_tried,
        "FAULTS 1: a daemon that refuses more often before it is ready is not given up"
    )
    .c_skips("it has no such parameter, and tries without end"),
    test!(
        parameter_reopen_tries_of_0_tries_until_the_daemon_accepts,
        "FAULTS 1: a daemon that refuses more often before it is ready is not given up"
    )
    .c_skips("it has no such parameter, and always does so"),
];

/// Sets a parameter of the module.
pub fn set(name: &str, value: &str) -> Result<()> {
    let path = format!("/sys/module/cachefiles/parameters/{name}");
    fs::write(&path, value).with_context(|| format!("writing {value} to {path}"))
}

/// That a parameter is off, and takes no number above `most`, nor what is none.
pub fn is_off_and_up_to(name: &str, most: u32) -> Result<()> {
    let path = format!("/sys/module/cachefiles/parameters/{name}");
    ensure!(fs::read_to_string(&path)?.trim() == "0", "it is on");
    let above = [u64::from(most) + 1, 1 << 32, (1 << 32) + 1, u64::MAX].map(|n| n.to_string());
    let nonsense = ["-1", "x", "5k", "99999999999999999999"];
    for bad in above.iter().map(String::as_str).chain(nonsense) {
        let error = fs::write(&path, bad)
            .err()
            .and_then(|error| error.raw_os_error());
        ensure!(error == Some(libc::EINVAL), "{name} {bad}: {error:?}");
    }
    Ok(())
}

/// Has every reader wait for its own READ, so that this goes when the reader is killed, also where
/// the machine was started with `async_reads`. The C module has nothing else.
pub fn readers_wait() -> Result<()> {
    if Path::new("/sys/module/cachefiles/parameters/async_reads").exists() {
        set("async_reads", "0")?;
    }
    Ok(())
}

/// The flags that the fd of an OPEN comes with.
fn flags_of_a_new_fd(ctx: &Context, session: &Session, fsid: &str) -> Result<FdFlags> {
    let mount = session.mount_in_background(&ctx.mount_point(fsid), format!("fsid={fsid}"))?;
    ensure!(session.device.wait_readable(Some(soon()))?, "no OPEN");
    // Undecoded, for the codec sets the flag by itself.
    let mut bytes = [0; 1024];
    let length = rustix::io::read(&*session.device, &mut bytes)?;
    ensure!(length > 28, "a message of {length} bytes");
    let object = raw::adopt(i32::from_ne_bytes(bytes[24..28].try_into()?));
    let flags = rustix::io::fcntl_getfd(&object)?;
    let id = u32::from_ne_bytes(bytes[0..4].try_into()?);
    session.device.copen(id, Err(Errno::IO))?;
    ensure!(mount.finish()?.is_err(), "mounted though it was refused");
    Ok(flags)
}

fn parameter_inherit_fds_keeps_object_fds_over_exec(ctx: &Context) -> Result<()> {
    let mut session = ctx.session("none", &two_blobs())?;
    for (value, inherited) in [(None, false), (Some("1"), true), (Some("0"), false)] {
        if let Some(value) = value {
            set("inherit_fds", value)?;
        }
        let flags = flags_of_a_new_fd(ctx, &session, "none")?;
        ensure!(
            flags.contains(FdFlags::CLOEXEC) != inherited,
            "inherit_fds is {value:?}, and the flags are {flags:?}"
        );
        session.settle()?;
    }
    Ok(())
}

/// A reader whose READ lost its fd, and a daemon that refuses every OPEN until it gets its blobs
/// back.
fn refusing(ctx: &Context, image: &Image) -> Result<(Session, Mount, ReadTask, Blobs)> {
    let (mut session, mount, reader) = one_read_in_flight(ctx, image)?;
    session.crash();
    session.hold_reads = None;
    let blobs = std::mem::take(&mut session.blobs);
    session.log = Default::default();
    Ok((session, mount, reader, blobs))
}

fn parameter_reopen_tries_bounds_how_often_a_reopening_is_tried(ctx: &Context) -> Result<()> {
    set("reopen_tries", "1")?;
    let image = two_blobs();
    let (mut session, mount, reader, blobs) = refusing(ctx, &image)?;
    session.pump_until("the reader to end", |_| reader.is_done())?;
    let opens = session.log.opens.len();
    expect_io_errno(reader.finish()?, Errno::IO, "the reader")?;
    // The kernel reads once ahead, and once more for the reader: each asks for itself.
    ensure!((1..=2).contains(&opens), "{opens} OPENs");
    session.blobs = blobs;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn parameter_reopen_tries_of_0_tries_until_the_daemon_accepts(ctx: &Context) -> Result<()> {
    set("reopen_tries", "0")?;
    let image = two_blobs();
    let (mut session, mount, reader, blobs) = refusing(ctx, &image)?;
    session.pump_until("300 refusals", |session| session.log.opens.len() >= 300)?;
    ensure!(!reader.is_done(), "the reader did not wait");
    session.blobs = blobs;
    finish(session, mount, &image, reader)
}
