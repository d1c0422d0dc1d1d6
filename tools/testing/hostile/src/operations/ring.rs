// SPDX-License-Identifier: GPL-2.0
//! io_uring: reads of the device by the ring's workers, polls that stay, writes, fds that only the
//! ring holds, and rings that are closed in the middle of all that.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use cachefiles_protocol::{Errno, MAX_MESSAGE_SIZE};
use io_uring::squeue::Flags;
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};

use super::{serve, take};
use crate::actor::Actor;
use crate::memory::{Memory, Spot};

/// Rings that a thread keeps at most.
const MOST: usize = 2;

/// User data of what brings no message.
const OTHER: u64 = u64::MAX;

/// Pages for messages. One that lies over another would be taken for it, with its fd.
const PAGES: u8 = 60;

/// A ring with something in flight, and the memory that it works on. The memory stays mapped when
/// this is dropped: the kernel ends what is in flight some time later.
pub struct Kept {
    ring: IoUring,
    memory: Memory,
    /// Where the next message goes.
    page: u8,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ring")
    }
}

/// Makes a ring or takes one that was kept, gives it something to do, and looks at what has come of
/// it.
pub fn ring(actor: &mut Actor<'_>) {
    if actor.rings.len() < MOST && actor.dice.chance(50) {
        let poller = actor.dice.chance(5);
        let made = actor.step(format!("ring, poller {poller}"), |actor| {
            make(actor, poller)
        });
        actor.rings.extend(made);
    }
    let place = actor.dice.below(actor.rings.len());
    if place >= actor.rings.len() {
        return;
    }
    let mut kept = actor.rings.swap_remove(place);
    let entries = entries(actor, &mut kept);
    let names: Vec<&str> = entries.iter().map(|(name, _)| *name).collect();
    let wait = actor.dice.chance(60);
    let results = actor.step(format!("submit {names:?}, wait {wait}"), |_| {
        submit(&mut kept.ring, entries.iter().map(|(_, entry)| entry), wait)
    });
    for (page, result) in results.unwrap_or_default() {
        if let (Ok(page), Ok(length @ 1..)) = (u8::try_from(page), usize::try_from(result))
            && let Ok(message) = take::decode(&kept.memory, Spot::Page(page), length)
        {
            serve::deal_with(actor, message);
        }
    }
    if actor.dice.chance(60) {
        actor.rings.push(kept);
    } else {
        let _ = actor.step("close ring", |_| {
            drop(kept);
            Ok(())
        });
    }
}

/// A ring, which may have the device for itself.
fn make(actor: &mut Actor<'_>, poller: bool) -> Result<Kept, Errno> {
    let error = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let memory = Memory::map().map_err(|_| Errno::NOMEM)?;
    let mut builder = IoUring::builder();
    if poller {
        builder.setup_sqpoll(1);
    }
    let ring = builder.build(8).map_err(error)?;
    if actor.dice.chance(30)
        && let Some(device) = actor.handles.device(&mut actor.dice)
    {
        let fds = [device.as_fd().as_raw_fd()];
        ring.submitter().register_files(&fds).map_err(error)?;
    }
    Ok(Kept {
        ring,
        memory,
        page: 0,
    })
}

/// Some of what a ring can be given to do, with names.
fn entries(actor: &mut Actor<'_>, kept: &mut Kept) -> Vec<(&'static str, squeue::Entry)> {
    let mut entries = Vec::new();
    for _ in 0..=actor.dice.below(3) {
        let Some(device) = actor.handles.device(&mut actor.dice) else {
            break;
        };
        let device = Fd(device.as_fd().as_raw_fd());
        let spot = match actor.dice.below(6) {
            0 => Spot::End(actor.dice.below(100) as u16),
            1 => Spot::Nowhere(0),
            _ => {
                kept.page = (kept.page + 1) % PAGES;
                Spot::Page(kept.page)
            }
        };
        let memory = &kept.memory;
        let to = std::ptr::with_exposed_provenance_mut(memory.address(spot));
        let length = MAX_MESSAGE_SIZE as u32;
        let kind = match spot {
            Spot::Page(page) => u64::from(page),
            _ => OTHER,
        };
        let (name, entry) = match actor.dice.below(10) {
            0..3 => (
                "read",
                opcode::Read::new(device, to, length)
                    .build()
                    .user_data(kind),
            ),
            3 => {
                let fixed = io_uring::types::Fixed(0);
                (
                    "read own",
                    opcode::Read::new(fixed, to, length).build().user_data(kind),
                )
            }
            4 => (
                "poll",
                opcode::PollAdd::new(device, libc::POLLIN as u32)
                    .build()
                    .user_data(OTHER),
            ),
            5 => {
                let poll = opcode::PollAdd::new(device, libc::POLLIN as u32);
                ("multi-poll", poll.multi(true).build().user_data(OTHER))
            }
            6 => (
                "cancel",
                opcode::AsyncCancel2::new(CancelBuilder::any())
                    .build()
                    .user_data(OTHER),
            ),
            7 => {
                let Some(held) = actor.handles.object(&mut actor.dice) else {
                    continue;
                };
                // From nowhere: who knows what would be in memory by the time it is written.
                let fd = Fd(held.fd.as_fd().as_raw_fd());
                let from = std::ptr::with_exposed_provenance(memory.address(Spot::Guard));
                (
                    "write",
                    opcode::Write::new(fd, from, 8192)
                        .offset(4096)
                        .build()
                        .user_data(OTHER),
                )
            }
            8 => {
                let Some(held) = actor.handles.object(&mut actor.dice) else {
                    continue;
                };
                let fd = Fd(held.fd.as_fd().as_raw_fd());
                ("fsync", opcode::Fsync::new(fd).build().user_data(OTHER))
            }
            _ => {
                let from = c"restore".as_ptr().cast();
                (
                    "restore",
                    opcode::Write::new(device, from, 7).build().user_data(OTHER),
                )
            }
        };
        let flags = match actor.dice.below(4) {
            0 => Flags::ASYNC,
            1 => Flags::IO_LINK,
            _ => Flags::empty(),
        };
        entries.push((name, entry.flags(flags)));
    }
    entries
}

/// Submits, and returns what is done by now: user data and result of each.
fn submit<'a>(
    ring: &mut IoUring,
    entries: impl Iterator<Item = &'a squeue::Entry>,
    wait: bool,
) -> Result<Vec<(u64, i32)>, Errno> {
    for entry in entries {
        // SAFETY: the memory that entries point to is never unmapped, and nothing in this program
        // refers to it; fds may well be closed by the time they are used.
        let pushed = unsafe { ring.submission().push(entry) };
        if pushed.is_err() {
            break;
        }
    }
    let time = Timespec::from(Duration::from_millis(3));
    let arguments = SubmitArgs::new().timespec(&time);
    let wanted = usize::from(wait);
    match ring.submitter().submit_with_args(wanted, &arguments) {
        Err(error) if error.raw_os_error() != Some(libc::ETIME) => {
            return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        }
        _ => {}
    }
    let done = ring.completion();
    Ok(done.map(|done| (done.user_data(), done.result())).collect())
}
