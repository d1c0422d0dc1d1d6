// SPDX-License-Identifier: GPL-2.0
//! Writing to objects, and completing what was not asked for.
//!
//! Only to blobs of junk goes what does not belong there. To the others go the right bytes, in
//! whole pages, though at any time, in any amount, and from memory that ends in the middle.

use std::sync::Arc;

use cachefiles_protocol::{AlignedBuffer, Errno, align_range};

use crate::actor::Actor;
use crate::handles::Held;
use crate::images;
use crate::memory::{ROOM, Spot};
use crate::raw;

const PAGE: usize = 4096;

/// What a thread writes at a far end at most, so that the disk does not fill up.
const FAR: usize = 16 * PAGE;

/// The right bytes, whether or not anybody asked.
pub fn right_bytes(actor: &mut Actor<'_>) {
    let Some(held) = actor.handles.object(&mut actor.dice) else {
        return;
    };
    let blob = actor.images.blob(&held.key).map_or(0, <[u8]>::len);
    let off = match actor.dice.below(8) {
        // Behind the end: zeros, at offsets up to the largest that there are.
        0 => {
            let odd = actor.dice.odd().unsigned_abs() & !(PAGE as u64 - 1);
            odd.max(blob as u64)
                .min(i64::MAX as u64 & !(PAGE as u64 - 1))
        }
        _ => (actor.dice.below(blob + 2 * PAGE) & !(PAGE - 1)) as u64,
    };
    let most = if off < blob as u64 { ROOM } else { FAR };
    let most_pages = if actor.dice.chance(80) {
        8
    } else {
        most / PAGE
    };
    let pages = 1 + actor.dice.below(most_pages);
    let length = (pages * PAGE).min(most);
    // Before the guard, the kernel finds fewer pages than were promised.
    let (spot, promised) = match actor.dice.below(4) {
        0 => (Spot::End(PAGE as u16), length + PAGE),
        1 => (
            Spot::Start,
            ROOM + actor.dice.odd().unsigned_abs() as usize % ROOM,
        ),
        _ => (Spot::Start, length),
    };
    // What is in memory is right as far as it goes, since more than the length may be read.
    let room = actor.memory.room(spot);
    let bytes = actor.images.content(&held.key, off, room);
    actor.memory.put(spot, &bytes);
    let flags = actor
        .dice
        .pick(&[0, 0, libc::RWF_DSYNC, libc::RWF_HIPRI, libc::RWF_NOWAIT]);
    write(
        actor,
        &held,
        spot,
        promised & !(PAGE - 1),
        off as i64,
        flags,
    );
}

/// What a READ asks for, in pieces that overlap, from two threads at a time; and then it is done.
/// One of them may bring something else where that is nobody's loss.
pub fn from_two_threads(actor: &mut Actor<'_>) {
    let Some(read) = actor.handles.take_read(&mut actor.dice) else {
        return;
    };
    let held = actor.handles.object_of_id(read.object_id);
    let most = if actor.honest { u64::MAX } else { ROOM as u64 };
    let (Some(held), Some(range)) = (held, align_range(read.off, read.len.min(most))) else {
        return actor.handles.add_read(&mut actor.dice, read);
    };
    let pages = ((range.end - range.start) / PAGE as u64) as usize;
    let is_junk = images::is_junk(&held.key) && !actor.honest;
    let pieces = [(); 2].map(|()| {
        // All of it, or what leaves some of it to the other.
        let (from, to) = match actor.dice.below(4) {
            0 => (0, 1 + actor.dice.below(pages)),
            1 => (actor.dice.below(pages), pages),
            _ => (0, pages),
        };
        let off = range.start + (from * PAGE) as u64;
        let mut piece = AlignedBuffer::new((to - from) * PAGE);
        if is_junk && actor.dice.chance(50) {
            piece.fill(actor.dice.number() as u8);
        } else {
            let bytes = actor.images.content(&held.key, off, piece.len());
            piece.copy_from_slice(&bytes);
        }
        (off, piece)
    });
    let what = format!("two threads fill {}: {range:?}", held.object_id);
    let filled = actor.step(what, |_| {
        std::thread::scope(|scope| {
            let [first, second] = &pieces;
            let other = scope.spawn(|| held.fd.write_at(&second.1, second.0));
            let filled = held.fd.write_at(&first.1, first.0);
            let other = other.join().unwrap_or(Err(Errno::IO));
            filled.and(other)
        })
    });
    let is_whole = |(_, piece): &(u64, AlignedBuffer)| piece.len() == pages * PAGE;
    let is_done = filled.is_ok() && pieces.iter().any(is_whole);
    if is_done || (!actor.honest && actor.dice.chance(50)) {
        let id = read.msg_id;
        let _ = actor.step(format!("cread {id}"), |_| held.fd.complete_read(id));
    } else {
        actor.handles.add_read(&mut actor.dice, read);
    }
}

/// Readers get what is written without the disk, or not. The C module has no such parameter.
pub fn switch_straight_reads(actor: &mut Actor<'_>) {
    let value = actor.dice.below(2).to_string();
    let _ = actor.step(format!("straight_reads {value}"), |_| {
        let path = "/sys/module/cachefiles/parameters/straight_reads";
        std::fs::write(path, value).map_err(|_| Errno::NOENT)
    });
}

/// Memory that is not there: nothing can come of it.
pub fn from_bad_memory(actor: &mut Actor<'_>) {
    let Some(held) = actor.handles.object(&mut actor.dice) else {
        return;
    };
    let spot = match actor.dice.below(3) {
        0 => Spot::Nowhere(actor.dice.below(PAGE) as u16),
        1 => Spot::Guard,
        _ => Spot::Kernel,
    };
    let length = actor.dice.odd() as usize;
    let off = actor.dice.odd();
    write(actor, &held, spot, length, off, 0);
}

/// Anything, where that is nobody's loss.
pub fn junk(actor: &mut Actor<'_>) {
    let held = (0..8)
        .filter_map(|_| actor.handles.object(&mut actor.dice))
        .find(|held| images::is_junk(&held.key));
    let Some(held) = held else {
        return;
    };
    let spot = match actor.dice.below(6) {
        0 => Spot::Askew(actor.dice.below(PAGE) as u16),
        1 => Spot::End(actor.dice.below(3 * PAGE) as u16),
        2 => Spot::ReadOnly,
        _ => Spot::Start,
    };
    let filler = [actor.dice.number() as u8; 3 * PAGE];
    actor.memory.put(spot, &filler);
    let length = match actor.dice.below(4) {
        0 => actor.dice.odd().unsigned_abs() as usize % (2 * ROOM),
        1 => actor.dice.below(2 * PAGE),
        _ => PAGE * actor.dice.below(ROOM / PAGE),
    };
    let off = match actor.dice.below(4) {
        0 => actor.dice.odd(),
        1 => actor.dice.below(1 << 18) as i64,
        _ => (actor.dice.below(1 << 18) & !(PAGE - 1)) as i64,
    };
    let flags = if actor.dice.chance(30) {
        actor.dice.odd() as i32
    } else {
        0
    };
    write(actor, &held, spot, length, off, flags);
}

fn write(actor: &mut Actor<'_>, held: &Arc<Held>, spot: Spot, length: usize, off: i64, flags: i32) {
    let what = format!(
        "pwrite {}: {spot:?} {off}+{length} flags {flags:#x}",
        held.object_id
    );
    let _ = actor.step(what, |actor| {
        raw::pwrite(&held.fd, &actor.memory, spot, length, off, flags)
    });
}

/// Completes a READ that may be of another object, of no object, or not there.
pub fn guess_cread(actor: &mut Actor<'_>) {
    let Some(held) = actor.handles.object(&mut actor.dice) else {
        return;
    };
    let id = actor.handles.guess_id(&mut actor.dice);
    let _ = actor.step(format!("cread {id} on {}", held.object_id), |_| {
        held.fd.complete_read(id)
    });
}
