// SPDX-License-Identifier: GPL-2.0
//! What a daemon does, mostly as it should be done.

use std::time::Duration;

use cachefiles_protocol::{
    AlignedBuffer, Errno, MAX_MESSAGE_SIZE, Message, Open, Read, ReceiveError, align_range,
};

use super::fds;
use crate::actor::Actor;
use crate::handles::{Held, MessageSummary};
use crate::images;

/// How long to wait for a message.
const TICK: Duration = Duration::from_millis(5);

/// More than that is not written for one READ.
const MOST: u64 = 1 << 20;

/// Takes a message, and does something about it.
pub fn serve(actor: &mut Actor<'_>) {
    let Some(device) = actor.handles.device(&mut actor.dice) else {
        return fds::get_a_device(actor);
    };
    // Several messages in a row: else the readers would hardly get on.
    for _ in 0..4 {
        let mut buffer = [0; MAX_MESSAGE_SIZE];
        let message = actor.step("wait, read", |_| {
            device.wait_readable(Some(TICK))?;
            match device.read_message(&mut buffer) {
                Ok(message) => Ok(MessageSummary(message)),
                Err(ReceiveError::Read(errno)) => Err(errno),
                Err(ReceiveError::Decode(_)) => Err(Errno::BADMSG),
            }
        });
        match message {
            Ok(MessageSummary(Some(message))) => deal_with(actor, message),
            Ok(MessageSummary(None)) => return,
            Err(Errno::IO) => {
                // The cache is dead: its device is of no more use.
                if actor.dice.chance(30) {
                    drop(actor.handles.take_device(&mut actor.dice));
                }
                return;
            }
            Err(Errno::BADMSG) => {
                // What is read of a cache that was bound in the original mode. Anything else is the
                // kernel's fault: loud, so that it is seen.
                assert!(
                    buffer.starts_with(b"cull="),
                    "malformed message: {buffer:?}"
                );
                return;
            }
            Err(_) => return,
        }
    }
}

/// Does something about a message, however it was come by.
pub fn deal_with(actor: &mut Actor<'_>, message: Message) {
    match message {
        Message::Open(open) => match actor.dice.below(100) {
            0..5 => actor.handles.add_open(&mut actor.dice, open),
            // Its fd is closed by that.
            5..9 => drop(open),
            _ => answer_open(actor, open),
        },
        Message::Read(read) => match actor.dice.below(100) {
            0..6 => actor.handles.add_read(&mut actor.dice, read),
            6..10 => {}
            _ => answer_read(actor, read),
        },
        Message::Close(close) => {
            if actor.dice.chance(80) {
                drop(actor.handles.take_object_of_id(close.object_id));
            }
        }
    }
}

/// Answers an OPEN that was left lying.
pub fn answer_an_old_open(actor: &mut Actor<'_>) {
    if let Some(open) = actor.handles.take_open(&mut actor.dice) {
        answer_open(actor, open);
    }
}

/// Answers a READ that was left lying.
pub fn answer_an_old_read(actor: &mut Actor<'_>) {
    if let Some(read) = actor.handles.take_read(&mut actor.dice) {
        answer_read(actor, read);
    }
}

fn answer_open(actor: &mut Actor<'_>, open: Open) {
    let Some(device) = actor.handles.device(&mut actor.dice) else {
        return;
    };
    let right = actor.images.blob(&open.cookie_key).map(|blob| blob.len());
    let right = right.unwrap_or_default() as i64;
    let (size, close_first) = match actor.dice.below(100) {
        _ if actor.honest => (right, false),
        0..5 => (actor.dice.odd(), false),
        5..10 => (-(actor.dice.between(1, 133) as i64), false),
        10..14 => (right, true),
        _ => (right, false),
    };
    let Open {
        msg_id,
        object_id,
        cookie_key: key,
        fd,
        ..
    } = open;
    let fd = (!close_first).then_some(fd);
    let name = String::from_utf8_lossy(&key).into_owned();
    let what = format!("copen {msg_id},{size} ({name} {object_id}, closed {close_first})");
    let answer = actor.step(what, |_| device.command(&format!("copen {msg_id},{size}")));
    if let Some(fd) = fd
        && (answer.is_ok() || actor.dice.chance(20))
    {
        let held = Held { key, object_id, fd };
        actor.handles.add_object(&mut actor.dice, held);
    }
}

fn answer_read(actor: &mut Actor<'_>, read: Read) {
    let Some(held) = actor.handles.object_of_id(read.object_id) else {
        // Somebody else has its fd, or had.
        if actor.dice.chance(70) {
            let _ = actor.step(
                format!(
                    "pass on {:?}",
                    MessageSummary::<()>(Some(Message::Read(read)))
                ),
                |actor| actor.exchange.send_read(&read),
            );
        } else if actor.dice.chance(50) {
            actor.handles.add_read(&mut actor.dice, read);
        }
        return;
    };
    let most = if actor.honest { u64::MAX } else { MOST };
    let Some(range) = align_range(read.off, read.len.min(most)) else {
        return;
    };
    if !actor.honest && actor.dice.chance(3) {
        let (id, errno) = (read.msg_id, actor.dice.between(1, 4095));
        let Some(device) = actor.handles.device(&mut actor.dice) else {
            return;
        };
        let command = format!("cfail {id},-{errno}");
        let _ = actor.step(command.clone(), |_| device.command(&command));
        return;
    }
    let mut len = range.end - range.start;
    let filled = match actor.dice.below(100) {
        _ if actor.honest => fill(actor, &held, range.start, len),
        // A refusal.
        0..4 => Ok(()),
        4..8 => {
            len = (len / 2).next_multiple_of(4096);
            fill(actor, &held, range.start, len)
        }
        _ => fill(actor, &held, range.start, len),
    };
    if filled.is_ok() || (!actor.honest && actor.dice.chance(70)) {
        let id = read.msg_id;
        let _ = actor.step(format!("cread {id}"), |_| held.fd.complete_read(id));
    }
}

/// Writes what belongs there, or to a blob of junk sometimes something else.
fn fill(actor: &mut Actor<'_>, held: &Held, off: u64, len: u64) -> Result<(), Errno> {
    let len = usize::try_from(len).unwrap_or_default();
    let mut buffer = AlignedBuffer::new(len);
    if images::is_junk(&held.key) && !actor.honest && actor.dice.chance(50) {
        buffer.fill(actor.dice.number() as u8);
    } else {
        let bytes = actor.images.content(&held.key, off, len);
        buffer.copy_from_slice(&bytes);
    }
    actor.step(format!("fill {}: {off}+{len}", held.object_id), |_| {
        held.fd.write_at(&buffer, off)
    })
}
