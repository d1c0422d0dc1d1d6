// SPDX-License-Identifier: GPL-2.0

//! Memory to read files into and write them from.
//!
//! C header: `include/linux/uio.h`

use crate::{bindings, Outcome};
use core::mem::MaybeUninit;
use kernel::alloc::flags::GFP_KERNEL;
use kernel::prelude::*;
use kernel::sync::Arc;
use kext::fs::File;
use kext::io::{IoCompletion, IovIter, RequestSlot};
use kext::sync::SetOnce;

/// What a direct I/O is made in on any disk.
const BLOCK: usize = 4096;

#[repr(C, align(4096))]
#[derive(Clone, Copy)]
struct Block([u8; BLOCK]);

/// Blocks of 4096 bytes, aligned for direct I/O.
pub struct Buffer(KVec<Block>);

impl Buffer {
    /// A number of blocks that are full of one byte. Error: ENOMEM.
    pub fn new(blocks: usize, fill: u8) -> Result<Self> {
        Ok(Self(KVec::from_elem(
            Block([fill; BLOCK]),
            blocks,
            GFP_KERNEL,
        )?))
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.0.len() * BLOCK
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All bytes in turn.
    pub fn bytes(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().flat_map(|block| block.0)
    }

    /// Whether all bytes from the first offset up to the second are this one.
    pub fn is_all(&self, from: usize, to: usize, byte: u8) -> bool {
        let mut bytes = self.bytes().skip(from).take(to.saturating_sub(from));
        to <= self.len() && bytes.all(|found| found == byte)
    }

    /// Calls `f` with an iterator over the first `bytes` of this, which are to be read into.
    pub fn to_read_into<R>(&mut self, bytes: usize, f: impl FnOnce(&mut IovIter) -> R) -> R {
        self.iterate(bindings::ITER_DEST, bytes, f)
    }

    /// Calls `f` with an iterator over the first `bytes` of this, which are to be written.
    pub fn to_write_from<R>(&mut self, bytes: usize, f: impl FnOnce(&mut IovIter) -> R) -> R {
        self.iterate(bindings::ITER_SOURCE, bytes, f)
    }

    fn iterate<R>(&mut self, direction: u32, bytes: usize, f: impl FnOnce(&mut IovIter) -> R) -> R {
        let bytes = bytes.min(self.len());
        let segment = bindings::kvec {
            iov_base: self.0.as_mut_ptr().cast(),
            iov_len: self.len(),
        };
        let mut iter = MaybeUninit::<bindings::iov_iter>::zeroed();
        // SAFETY: One segment of memory that is ours, and more than `bytes` long. Both outlive `f`,
        // which cannot keep the iterator.
        unsafe { bindings::iov_iter_kvec(iter.as_mut_ptr(), direction, &segment, 1, bytes) };
        // SAFETY: Initialised just now, and used by nobody else.
        f(unsafe { IovIter::from_raw(iter.as_mut_ptr()) })
    }
}

/// An I/O that has ended.
pub struct Finished {
    /// What it was made with.
    pub buffer: Buffer,
    /// Bytes transferred, or a negative error number.
    pub result: isize,
    /// Whether it ended by itself, and not within the call that began it.
    pub was_async: bool,
    /// Whether the file that the completion got is the one that it was begun on.
    pub same_file: bool,
}

/// An I/O under way.
pub struct Pending {
    finished: Arc<SetOnce<Finished>>,
    /// What the call that began it returned: 0, `-EIOCBQUEUED`, or another error number.
    pub returned: isize,
}

impl Pending {
    /// Waits for its end. Sleeps.
    #[track_caller]
    pub fn wait(&self) -> Outcome<&Finished> {
        crate::wait_until("the I/O to end", || self.finished.get().is_some())?;
        self.finished
            .get()
            .ok_or_else(|| crate::Stop::failed("an end", format_args!("there is none")))
    }

    /// Whether it is on its way still when the call that began it had returned.
    pub fn was_queued(&self) -> bool {
        self.returned == -(bindings::EIOCBQUEUED as isize)
    }
}

/// Told of the end. Has the memory until then.
struct Owner {
    buffer: Buffer,
    file: *const File,
    finished: Arc<SetOnce<Finished>>,
}

// SAFETY: The pointer is only compared; the rest belongs to no thread.
unsafe impl Send for Owner {}

impl IoCompletion for Owner {
    fn complete(self, file: &File, result: isize, was_async: bool) {
        let finished = Finished {
            buffer: self.buffer,
            result,
            was_async,
            same_file: core::ptr::eq(file, self.file),
        };
        // The buffer stays with the one who waits, as nothing may be freed in an interrupt here.
        self.finished.set(finished);
    }
}

fn submit(
    file: &File,
    buffer: Buffer,
    direction: u32,
    submit: impl FnOnce(RequestSlot<Owner>, &mut IovIter, Owner) -> isize,
) -> Outcome<Pending> {
    let finished = Arc::new(SetOnce::new(), GFP_KERNEL)?;
    let slot = RequestSlot::new()?;
    // The memory stays in its place when the vector that owns it is moved.
    let mut buffer = buffer;
    let segment = bindings::kvec {
        iov_base: buffer.0.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut iter = MaybeUninit::<bindings::iov_iter>::zeroed();
    // SAFETY: One segment of memory, which the owner keeps until the I/O has ended.
    unsafe { bindings::iov_iter_kvec(iter.as_mut_ptr(), direction, &segment, 1, segment.iov_len) };
    // SAFETY: Initialised just now. A file system does not use the iterator itself, nor the
    // segment, after the call that begins the I/O.
    let iter = unsafe { IovIter::from_raw(iter.as_mut_ptr()) };
    let owner = Owner {
        buffer,
        file,
        finished: finished.clone(),
    };
    let returned = submit(slot, iter, owner);
    Ok(Pending { finished, returned })
}

/// Begins a direct read of the file at `pos` (bytes) that fills the buffer.
pub fn submit_read(file: &File, pos: i64, buffer: Buffer) -> Outcome<Pending> {
    submit(file, buffer, bindings::ITER_DEST, |slot, iter, owner| {
        slot.submit_read(file, pos, iter, owner)
    })
}

/// Begins a direct write to the file at `pos` (bytes) of the whole buffer.
pub fn submit_write(file: &File, pos: i64, buffer: Buffer) -> Outcome<Pending> {
    submit(file, buffer, bindings::ITER_SOURCE, |slot, iter, owner| {
        slot.submit_write(file, pos, iter, owner)
    })
}
