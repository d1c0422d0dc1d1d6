// SPDX-License-Identifier: GPL-2.0
//! Fds that come and go: duplicated, closed, replaced, passed on, inherited; and the device opened
//! anew.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

use cachefiles_harness::context::TAG;
use cachefiles_harness::sys;
use cachefiles_protocol::{Device, Errno};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::actor::Actor;
use crate::fd_exchange::Packet;
use crate::handles::Held;
use crate::raw;

/// Programs and children that a thread has at most.
const CHILDREN: usize = 3;

/// Another fd of an object, or of the device.
pub fn duplicate(actor: &mut Actor<'_>) {
    if actor.dice.chance(30) {
        let Some(device) = actor.handles.device(&mut actor.dice) else {
            return;
        };
        if let Ok(device) = actor.step("dup device", |_| device.try_clone()) {
            actor.handles.add_device(&mut actor.dice, device);
        }
        return;
    }
    let Some(held) = actor.handles.object(&mut actor.dice) else {
        return;
    };
    let object_id = held.object_id;
    let fd = actor.step(format!("dup {object_id}"), |_| {
        fcntl_dupfd_cloexec(&held.fd, 0)
    });
    if let Ok(fd) = fd {
        let held = Held {
            key: held.key.clone(),
            object_id,
            fd: fd.into(),
        };
        actor.handles.add_object(&mut actor.dice, held);
    }
}

/// Closes an fd of an object, or all of this process.
pub fn close_an_object(actor: &mut Actor<'_>) {
    let Some(held) = actor.handles.take_object(&mut actor.dice) else {
        return;
    };
    let all = actor.dice.chance(50);
    let _ = actor.step(format!("close {}, all {all}", held.object_id), |actor| {
        if all {
            drop(actor.handles.take_object_of_id(held.object_id));
        }
        drop(held);
        Ok(())
    });
}

/// Closes an fd that another thread may be using, in the middle of what it does.
pub fn replace_an_object(actor: &mut Actor<'_>) {
    let Some(held) = actor.handles.take_object(&mut actor.dice) else {
        return;
    };
    let _ = actor.step(format!("replace {}", held.object_id), |_| {
        let null = std::fs::File::open("/dev/null").map_err(|_| Errno::MFILE)?;
        raw::replace(&held.fd, &null)
    });
}

/// Closes the objects of this process, as a crash would.
pub fn close_all_objects(actor: &mut Actor<'_>) {
    let _ = actor.step("close all objects", |actor| {
        drop(actor.handles.take_objects());
        Ok(())
    });
}

/// Closes an fd of the device: perhaps the last.
pub fn close_a_device(actor: &mut Actor<'_>) {
    let all = actor.dice.chance(10);
    let _ = actor.step(format!("close device, all {all}"), |actor| {
        if all {
            drop(actor.handles.take_devices());
        } else if actor.handles.devices() > 1 {
            let device = actor
                .handles
                .take_device(&mut actor.dice)
                .ok_or(Errno::BADF)?;
            // In use by another thread, perhaps.
            if actor.dice.chance(50) {
                let null = std::fs::File::open("/dev/null").map_err(|_| Errno::MFILE)?;
                raw::replace(&*device, &null)?;
            }
        }
        Ok(())
    });
}

/// This process has no device: somebody passes one on, or it is opened.
pub fn get_a_device(actor: &mut Actor<'_>) {
    receive(actor);
    if actor.handles.devices() == 0 {
        open_and_bind(actor);
        std::thread::sleep(actor.dice.pause(5));
    }
}

/// Opens the device, which fails while somebody has it, and binds a cache; mostly a good one.
pub fn open_and_bind(actor: &mut Actor<'_>) {
    let Ok(device) = actor.step("open the device", |_| Device::open()) else {
        return;
    };
    if actor.dice.chance(10) {
        // As it is.
        actor.handles.add_device(&mut actor.dice, device);
        return;
    }
    if actor.dice.chance(20) {
        // What waits for its next daemon, if it does.
        let _ = actor.step("attach", |_| device.attach(TAG));
        actor.handles.add_device(&mut actor.dice, device);
        return;
    }
    if actor.dice.chance(10) {
        let limit = actor
            .dice
            .pick(&["brun 99%", "bstop 90%", "fcull 6%", "frun 3%", "bcull 98%"]);
        let _ = actor.step(limit, |_| device.command(limit));
    }
    let dir = match actor.dice.below(20) {
        0 => "/tmp",
        1 => "/cache/lost+found",
        _ => sys::CACHE,
    };
    let mode = match actor.dice.below(20) {
        0 => "bind",
        1 => "bind nonsense",
        _ => "bind ondemand",
    };
    let lingers = actor.dice.chance(30);
    let ahead = actor.dice.chance(50);
    let is_mixed = actor.dice.chance(30);
    let _ = actor.step(
        format!("{dir}, {mode}, lingers {lingers}, ahead {ahead}, mixed {is_mixed}"),
        |_| {
            device.command(&format!("dir {dir}"))?;
            device.command(&format!("tag {TAG}"))?;
            if lingers {
                device.set_linger(1)?;
            }
            if ahead {
                device.set_readahead(256)?;
            }
            if is_mixed {
                device.set_mixed(true)?;
            }
            device.command(mode)
        },
    );
    actor.handles.add_device(&mut actor.dice, device);
}

/// Passes something on.
pub fn send(actor: &mut Actor<'_>) {
    if actor.dice.chance(30) {
        if let Some(device) = actor.handles.device(&mut actor.dice) {
            let _ = actor.step("send device", |actor| actor.exchange.send_device(&device));
        }
    } else if let Some(held) = actor.handles.object(&mut actor.dice) {
        let _ = actor.step(format!("send {}", held.object_id), |actor| {
            actor.exchange.send_object(&held)
        });
    }
}

/// Takes what others passed on.
pub fn receive(actor: &mut Actor<'_>) {
    let mut packet = None;
    let _ = actor.step("receive", |actor| {
        packet = Some(actor.exchange.receive()?);
        Ok(())
    });
    match packet {
        Some(Packet::Device(device)) => actor.handles.add_device(&mut actor.dice, device),
        Some(Packet::Object(held)) => actor.handles.add_object(&mut actor.dice, held),
        Some(Packet::Read(read)) => actor.handles.add_read(&mut actor.dice, read),
        None => {}
    }
}

/// Starts a program that keeps a device and an object, uses them once, and ends.
pub fn exec(actor: &mut Actor<'_>) {
    if actor.children.len() >= CHILDREN {
        return;
    }
    let (Some(device), Some(held)) = (
        actor.handles.device(&mut actor.dice),
        actor.handles.object(&mut actor.dice),
    ) else {
        return;
    };
    let time = actor.dice.below(300);
    let id = actor.handles.guess_id(&mut actor.dice);
    let child = actor.step(
        format!("exec with {} for {time} ms", held.object_id),
        |_| {
            let copy = |fd: &dyn AsFd| fcntl_dupfd_cloexec(fd.as_fd(), 3).map(Stdio::from);
            Command::new("/proc/self/exe")
                .args(["hold", &time.to_string(), &id.to_string()])
                .stdin(copy(&*device)?)
                .stdout(copy(&held.fd)?)
                .spawn()
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        },
    );
    actor.children.extend(child);
}

/// What that program does.
pub fn hold(milliseconds: u64, msg_id: u32) {
    std::thread::sleep(std::time::Duration::from_millis(milliseconds));
    let mut buffer = [0; 1024];
    // All of it may fail, as none of it is any of this process's business.
    let _ = rustix::io::read(std::io::stdin(), &mut buffer);
    let _ = rustix::fs::seek(std::io::stdout(), rustix::fs::SeekFrom::Data(0));
    if let Ok(fd) = fcntl_dupfd_cloexec(std::io::stdout(), 3) {
        let _ = cachefiles_protocol::ObjectFd::from(fd).complete_read(msg_id);
    }
}

/// Forks, so that all fds have another owner for a while, who is not heard of again.
pub fn fork(actor: &mut Actor<'_>) {
    if actor.forks.len() >= CHILDREN {
        return;
    }
    let device = actor.handles.device(&mut actor.dice);
    let number = device
        .as_ref()
        .map_or(-1, |device| device.as_fd().as_raw_fd());
    let time = actor.dice.below(300) as u16;
    let child = actor.step(format!("fork for {time} ms"), |_| {
        raw::fork_holder(number, time)
    });
    actor.forks.extend(child.ok().and_then(Pid::from_raw));
}

/// Waits for children that have ended.
pub fn reap(actor: &mut Actor<'_>) {
    actor
        .children
        .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    actor
        .forks
        .retain(|child| matches!(waitpid(Some(*child), WaitOptions::NOHANG), Ok(None)));
}

/// Opens what an fd stands for by its name in `/proc`.
pub fn reopen(actor: &mut Actor<'_>) {
    let number = match actor.dice.below(2) {
        0 => actor
            .handles
            .device(&mut actor.dice)
            .map(|device| device.as_fd().as_raw_fd()),
        _ => actor
            .handles
            .object(&mut actor.dice)
            .map(|held| held.fd.as_fd().as_raw_fd()),
    };
    let Some(number) = number else { return };
    let _ = actor.step(format!("open /proc/self/fd/{number}"), |_| {
        let file = std::fs::File::options()
            .write(true)
            .open(format!("/proc/self/fd/{number}"));
        file.map(OwnedFd::from)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    });
}
