// SPDX-License-Identifier: GPL-2.0
//! What can be tried on any fd: seeking, mapping, locking, splicing, flags, numbers for `ioctl`.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use cachefiles_harness::raw as tests_raw;
use cachefiles_protocol::{Device, Errno};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice as splice_between};

use crate::actor::Actor;
use crate::handles::Held;
use crate::raw::{self, Call};

/// The device, or an object.
enum Any {
    Device(Arc<Device>),
    Object(Arc<Held>),
}

impl AsFd for Any {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Device(device) => device.as_fd(),
            Self::Object(held) => held.fd.as_fd(),
        }
    }
}

fn any(actor: &mut Actor<'_>) -> Option<(Any, String)> {
    if actor.dice.chance(30) {
        let device = actor.handles.device(&mut actor.dice)?;
        return Some((Any::Device(device), "device".into()));
    }
    let held = actor.handles.object(&mut actor.dice)?;
    let name = held.object_id.to_string();
    Some((Any::Object(held), name))
}

/// `lseek`: also for data and holes, and in ways that there are not.
pub fn seek(actor: &mut Actor<'_>) {
    let Some((fd, name)) = any(actor) else { return };
    let off = match actor.dice.below(3) {
        0 => actor.dice.below(1 << 18) as i64,
        _ => actor.dice.odd(),
    };
    let whence = match actor.dice.below(8) {
        0 => actor.dice.odd(),
        number => (number % 5) as i64,
    };
    let _ = actor.step(format!("lseek {name}: {off}, {whence}"), |_| {
        raw::call(Call::Seek, &fd, [off, whence, 0])
    });
}

/// Calls that most files do not know.
pub fn call(actor: &mut Actor<'_>) {
    const CALLS: &[Call] = &[
        Call::Truncate,
        Call::Allocate,
        Call::Sync,
        Call::SyncRange,
        Call::Lock,
        Call::Advise,
        Call::Readahead,
        Call::Ioctl,
        Call::Ioctl,
    ];
    let Some((fd, name)) = any(actor) else { return };
    let call = actor.dice.pick(CALLS);
    let mut arguments = [actor.dice.odd(), actor.dice.odd(), actor.dice.odd()];
    if let Call::Ioctl = call
        && actor.dice.chance(60)
    {
        // In the family of the one that there is.
        let family = (actor.dice.number() & 0xffff_0003) | 0x9800;
        arguments[0] = actor.dice.pick(&[0x4004_9801, family as i64]);
    }
    let what = format!("{call:?} {name}: {arguments:?}");
    let _ = actor.step(what, |_| raw::call(call, &fd, arguments));
}

/// `mmap`.
pub fn map(actor: &mut Actor<'_>) {
    let Some((fd, name)) = any(actor) else { return };
    let _ = actor.step(format!("mmap {name}"), |_| tests_raw::map(&fd));
}

/// `splice`, `sendfile` and `copy_file_range`, in both directions.
pub fn splice(actor: &mut Actor<'_>) {
    let Some((fd, name)) = any(actor) else { return };
    let way = actor.dice.below(6);
    let length = 1 + actor.dice.below(10000);
    let _ = actor.step(format!("splice {name}, way {way}, {length}"), |_| {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let zeros = || File::open("/dev/zero").map_err(|_| Errno::MFILE);
        match way {
            0 => splice_between(&fd, None, &into, None, length, SpliceFlags::NONBLOCK),
            // Nothing is in the pipe: were this taken, nothing would be written.
            1 => splice_between(&out, None, &fd, None, length, SpliceFlags::NONBLOCK),
            2 => rustix::fs::sendfile(&into, &fd, None, length),
            // Of no bytes: what is written must be right.
            3 => rustix::fs::sendfile(&fd, zeros()?, None, 0),
            4 => rustix::fs::copy_file_range(&fd, None, &into, None, length),
            _ => rustix::fs::copy_file_range(zeros()?, None, &fd, None, 0),
        }
    });
}

/// Status flags, and whatever else `fcntl` takes.
pub fn flags(actor: &mut Actor<'_>) {
    let Some((fd, name)) = any(actor) else { return };
    if actor.dice.chance(50) {
        let mut flags = OFlags::empty();
        for flag in [
            OFlags::NONBLOCK,
            OFlags::APPEND,
            OFlags::DIRECT,
            OFlags::from_bits_retain(libc::O_ASYNC as u32),
        ] {
            if actor.dice.chance(30) {
                flags |= flag;
            }
        }
        let _ = actor.step(format!("flags of {name}: {flags:?}"), |_| {
            fcntl_setfl(&fd, flags)
        });
        return;
    }
    // Not those that duplicate, as nobody would close it, and none that sends signals.
    const COMMANDS: &[i64] = &[
        libc::F_GETFL as i64,
        libc::F_GETLK as i64,
        libc::F_SETLK as i64,
        libc::F_SETLEASE as i64,
        libc::F_GETLEASE as i64,
        libc::F_NOTIFY as i64,
        libc::F_SETPIPE_SZ as i64,
        libc::F_ADD_SEALS as i64,
        libc::F_GETOWN as i64,
        9999,
    ];
    let command = actor.dice.pick(COMMANDS);
    let argument = actor.dice.odd();
    let _ = actor.step(format!("fcntl {name}: {command}, {argument}"), |_| {
        raw::call(Call::Control, &fd, [command, argument, 0])
    });
}
