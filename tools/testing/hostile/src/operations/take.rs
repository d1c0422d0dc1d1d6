// SPDX-License-Identifier: GPL-2.0
//! Reading the device with memory that cannot take the message, and with no fd free for it.

use cachefiles_protocol::{Errno, MAX_MESSAGE_SIZE, Message, ObjectFd, WireMessage};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::serve;
use crate::actor::Actor;
use crate::memory::{Memory, Spot};
use crate::raw;

/// Memory that is not there, cannot be written to, or ends too early.
pub fn into_bad_memory(actor: &mut Actor<'_>) {
    let spot = match actor.dice.below(6) {
        0 => Spot::Nowhere(actor.dice.below(4096) as u16),
        1 => Spot::ReadOnly,
        2 => Spot::Guard,
        3 => Spot::Kernel,
        _ => Spot::End(actor.dice.below(120) as u16),
    };
    let length = match actor.dice.below(4) {
        0 => actor.dice.odd() as usize,
        _ => MAX_MESSAGE_SIZE,
    };
    take(actor, &[(spot, length)]);
}

/// Less room than a message needs.
pub fn with_little_room(actor: &mut Actor<'_>) {
    let length = actor.dice.below(80);
    take(actor, &[(Spot::Start, length)]);
}

/// One call for several messages, some of which find no memory.
pub fn into_several(actor: &mut Actor<'_>) {
    // Each has a page of its own: none may lie over another, which is still to be decoded.
    let parts: Vec<(Spot, usize)> = (0..=actor.dice.below(4) as u8)
        .map(|page| match actor.dice.below(5) {
            0 => (Spot::End(actor.dice.below(64) as u16), MAX_MESSAGE_SIZE),
            1 => (Spot::Nowhere(0), actor.dice.below(2000)),
            _ => (Spot::Page(page), MAX_MESSAGE_SIZE),
        })
        .collect();
    take(actor, &parts);
}

/// No number is left for the fd of an OPEN.
pub fn with_a_full_fd_table(actor: &mut Actor<'_>) {
    let before = getrlimit(Resource::Nofile);
    let few = Rlimit {
        current: Some(actor.dice.below(12) as u64),
        maximum: before.maximum,
    };
    if setrlimit(Resource::Nofile, few).is_ok() {
        take(actor, &[(Spot::Start, MAX_MESSAGE_SIZE)]);
        // Other threads may have done the same at the same time: never back to their few.
        let many = Rlimit {
            current: Some(1024),
            maximum: before.maximum,
        };
        let _ = setrlimit(Resource::Nofile, many);
    }
}

fn take(actor: &mut Actor<'_>, parts: &[(Spot, usize)]) {
    let Some(device) = actor.handles.device(&mut actor.dice) else {
        return;
    };
    let length = actor.step(format!("read {parts:?}"), |actor| match parts {
        &[(spot, length)] => raw::read(&*device, &actor.memory, spot, length),
        parts => raw::readv(&*device, &actor.memory, parts),
    });
    if let Ok(length @ 1..) = length {
        // Of several only the first is looked at: fds in the others are lost, as daemons lose them.
        let spot = parts.first().map_or(Spot::Start, |(spot, _)| *spot);
        if let Ok(message) = decode(&actor.memory, spot, length) {
            serve::deal_with(actor, message);
        }
    }
}

/// The message that was read to a spot, with its fd owned.
pub fn decode(memory: &Memory, spot: Spot, length: usize) -> Result<Message, Errno> {
    let bytes = memory.get(spot, length);
    let size = bytes.get(8..).and_then(|bytes| bytes.first_chunk());
    let size = size.map_or(0, |size| u32::from_ne_bytes(*size) as usize);
    let message = WireMessage::try_from(bytes.get(..size).unwrap_or(&bytes));
    let message = message.map_err(|_| Errno::BADMSG)?;
    Ok(message.map_fd(|fd| ObjectFd::from(raw::adopt(fd))))
}
