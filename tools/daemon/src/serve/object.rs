// SPDX-License-Identifier: GPL-2.0
//! An open object, and fetching a range of its blob into the cache.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use cachefiles_protocol::{AlignedBuffer, Errno, ObjectFd, Read, align_range, page_size};
use tokio::sync::Semaphore;

use super::in_hand::InHand;
use super::units::{Claim, Units};
use crate::backend::Blob;
use crate::stats::Stats;

/// How much is fetched at once: as much as one request of a large read-ahead.
const BUFFER_SIZE: usize = 1 << 20;

thread_local! {
    /// Memory for data: whole pages, aligned. The threads that fetch stay for a while.
    static BUFFER: RefCell<AlignedBuffer> = RefCell::new(AlignedBuffer::new(BUFFER_SIZE));
}

/// An open object. The last one who has it closes the fd.
pub struct Object {
    /// What is written to.
    pub fd: ObjectFd,
    /// Where the data comes from.
    pub blob: Arc<dyn Blob>,
    /// Its name, for people.
    pub key: String,
    /// Its name, as the source knows it.
    pub name: Vec<u8>,
    /// Who fetches has one of these: so a source that is slow does not take all threads.
    pub turns: Arc<Semaphore>,
    /// What is being fetched.
    pub units: Arc<Units>,
}

/// What became of a READ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// Its data is in the cache, and its reader knows.
    Completed,
    /// There is nothing to answer: its reader was killed, its object is closed, or another task has
    /// it.
    Gone,
}

/// Fetches what a READ asks for, and completes it.
///
/// While it waits for the source it does not hold the object: a kernel that wants it closed is not
/// kept waiting by a source that does not answer.
pub fn serve(
    object: &Weak<Object>,
    blob: &dyn Blob,
    read: &Read,
    claim: &mut Claim,
    in_hand: &InHand,
    stats: &Stats,
) -> io::Result<Served> {
    let missing = claim.missing();
    // The last unit may be shorter, as the last page may be.
    let range = missing.start..missing.end.min(blob.size().next_multiple_of(page_size()));
    let filled = BUFFER.with_borrow_mut(|buffer| fill(object, blob, range, buffer, stats));
    if filled.is_err() {
        claim.failed();
    }
    if !filled? {
        in_hand.put_down(read);
        return Ok(Served::Gone);
    }
    claim.done();
    let Some(object) = object.upgrade() else {
        in_hand.put_down(read);
        return Ok(Served::Gone);
    };
    if !in_hand.put_down(read) {
        return Ok(Served::Gone);
    }
    match object.fd.complete_read(read.msg_id) {
        Ok(()) => Ok(Served::Completed),
        Err(Errno::INVAL) => Ok(Served::Gone),
        // It is still ours to answer, unless it was delivered again in between.
        Err(errno) if in_hand.take(read) => Err(errno.into()),
        Err(_) => Ok(Served::Gone),
    }
}

/// Fetches what is missing of a range, without anybody having asked for it, and gives how much that
/// was: nothing where all of the range is in the cache. None if the object is closed.
pub fn fill_alone(
    object: &Weak<Object>,
    blob: &dyn Blob,
    range: &Range<u64>,
    claim: &mut Claim,
    stats: &Stats,
) -> io::Result<Option<u64>> {
    let Some(open) = object.upgrade() else {
        return Ok(None);
    };
    // Data up to its end: what cannot be told is fetched.
    let is_there = open.fd.seek_hole(range.start);
    let is_there = is_there.is_ok_and(|hole| hole >= range.end);
    drop(open);
    let missing = claim.missing();
    let end = blob.size().next_multiple_of(page_size());
    let missing = missing.start..missing.end.min(end);
    if is_there || missing.is_empty() {
        return Ok(Some(0));
    }
    let length = missing.end - missing.start;
    let filled = BUFFER.with_borrow_mut(|buffer| fill(object, blob, missing, buffer, stats));
    match filled {
        Ok(true) => claim.done(),
        Ok(false) => {}
        // Who waits for a part of it may be able to have that.
        Err(_) => claim.failed(),
    }
    Ok(filled?.then_some(length))
}

/// The pages around what is asked for.
///
/// Fails with `ENODATA` where that goes on behind the blob's last page: an image that has something
/// there was made of a longer blob than this, which may be there only in part.
pub fn range_of(blob: &dyn Blob, read: &Read) -> io::Result<Range<u64>> {
    let range = align_range(read.off, read.len).ok_or(Errno::OVERFLOW)?;
    if range.end > blob.size().next_multiple_of(page_size()) {
        return Err(Errno::NODATA.into());
    }
    Ok(range)
}

/// Writes whole pages into the cache file: the blob's bytes, and zeros in the rest of its last one.
/// False if the object is closed meanwhile.
fn fill(
    object: &Weak<Object>,
    blob: &dyn Blob,
    range: Range<u64>,
    buffer: &mut [u8],
    stats: &Stats,
) -> io::Result<bool> {
    let mut at = range.start;
    while at < range.end {
        let room = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        let step = usize::try_from(room.min(range.end - at)).map_err(|_| Errno::OVERFLOW)?;
        let chunk = buffer.get_mut(..step).ok_or(Errno::INVAL)?;
        // The rest of the last page, and no more than that, reads as zeros.
        let there = blob.size().saturating_sub(at);
        let (data, rest) =
            chunk.split_at_mut(usize::try_from(there).unwrap_or(usize::MAX).min(step));
        blob.read_exact_at(data, at)?;
        rest.fill(0);
        let Some(object) = object.upgrade() else {
            return Ok(false);
        };
        object.fd.write_at(chunk, at)?;
        let written = u64::try_from(step).map_err(|_| Errno::OVERFLOW)?;
        at += written;
        stats.bytes.fetch_add(written, Relaxed);
    }
    Ok(true)
}
