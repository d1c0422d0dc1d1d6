// SPDX-License-Identifier: GPL-2.0

//! Buffers for reads and writes of files.
//!
//! C header: `include/linux/uio.h`

use crate::{bindings, Outcome};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::alloc::flags::GFP_KERNEL;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::fs::File;
use kernel_ext::io::{
    Dest, Direction, IoCompletion, IovIter, IovIterDest, IovIterSource, Lender, OpenWindow,
    RequestSlot, Source, Transfer, Window,
};
use kernel_ext::sync::SetOnce;

/// The unit of direct I/O on any disk, in bytes.
const BLOCK: usize = 4096;

#[repr(C, align(4096))]
#[derive(Clone, Copy)]
struct Block([u8; BLOCK]);

/// Blocks of 4096 bytes, aligned for direct I/O.
pub struct Buffer(KVec<Block>);

impl Buffer {
    /// Creates a buffer of blocks that are full of one byte. Error: ENOMEM.
    pub fn new(blocks: usize, fill: u8) -> Result<Self> {
        Ok(Self(KVec::from_elem(
            Block([fill; BLOCK]),
            blocks,
            GFP_KERNEL,
        )?))
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> usize {
        self.0.len() * BLOCK
    }

    /// Returns whether the length is 0.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over all bytes.
    pub fn bytes(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().flat_map(|block| block.0)
    }

    /// Returns whether all bytes from offset `from` up to `to` are equal to `byte`.
    pub fn is_all(&self, from: usize, to: usize, byte: u8) -> bool {
        let mut bytes = self.bytes().skip(from).take(to.saturating_sub(from));
        to <= self.len() && bytes.all(|found| found == byte)
    }

    /// Calls `f` with an iterator over the first `bytes` of this, which are to be read into.
    pub fn to_read_into<R>(
        &mut self,
        bytes: usize,
        f: impl FnOnce(&mut IovIterDest<'_>) -> R,
    ) -> R {
        self.iterate(bytes, f)
    }

    /// Calls `f` with an iterator over the first `bytes` of this as a list of pages, which are to
    /// be read into.
    pub fn to_read_into_pages<R>(
        &mut self,
        bytes: usize,
        f: impl FnOnce(&mut IovIterDest<'_>) -> R,
    ) -> R {
        let bytes = bytes.min(self.len());
        let mut list = bindings::bio_vec::default();
        let mut iter = MaybeUninit::<bindings::iov_iter>::zeroed();
        let memory = self.0.as_mut_ptr().cast();
        // SAFETY: So much memory that is ours, out of `kmalloc()`, so that its pages are known. It
        // and the list outlive `f`, which cannot keep the iterator.
        unsafe { bindings::cfk_iov_iter_bvec(iter.as_mut_ptr(), &mut list, memory, bytes) };
        // SAFETY: Initialised just now, over memory that is borrowed for this.
        f(unsafe { IovIter::from_raw(iter.as_mut_ptr()) })
    }

    /// Calls `f` with an iterator over the first `bytes` of this, which are to be written.
    pub fn to_write_from<R>(
        &mut self,
        bytes: usize,
        f: impl FnOnce(&mut IovIterSource<'_>) -> R,
    ) -> R {
        self.iterate(bytes, f)
    }

    /// Calls `f` with a window onto the first `bytes` of this. Returns also whether all of these
    /// were filled through it. Errors: ENOMEM.
    pub fn through_window<R>(
        &mut self,
        bytes: usize,
        is_list: bool,
        f: impl FnOnce(&Arc<Window>) -> R,
    ) -> Result<(R, bool)> {
        let look = |iter: &mut IovIterDest<'_>| {
            // SAFETY: The memory is borrowed for as long as the closure runs, at the end of which
            // the window is closed.
            let open = unsafe { OpenWindow::new(iter) }?;
            let result = f(open.window());
            Ok((result, open.close()))
        };
        if is_list {
            self.to_read_into_pages(bytes, look)
        } else {
            self.to_read_into(bytes, look)
        }
    }

    fn iterate<D: Direction, R>(
        &mut self,
        bytes: usize,
        f: impl FnOnce(&mut IovIter<'_, D>) -> R,
    ) -> R {
        let bytes = bytes.min(self.len());
        let segment = self.segment();
        let mut iter = MaybeUninit::<bindings::iov_iter>::zeroed();
        // SAFETY: One segment of memory that is ours, and at least `bytes` long. Both outlive `f`,
        // which cannot keep the iterator.
        unsafe { bindings::iov_iter_kvec(iter.as_mut_ptr(), direction::<D>(), &segment, 1, bytes) };
        // SAFETY: Initialised just now, over memory that is borrowed for this.
        f(unsafe { IovIter::from_raw(iter.as_mut_ptr()) })
    }

    fn segment(&mut self) -> bindings::kvec {
        bindings::kvec {
            iov_base: self.0.as_mut_ptr().cast(),
            iov_len: self.len(),
        }
    }
}

fn direction<D: Direction>() -> u32 {
    if D::WRITES {
        bindings::ITER_SOURCE
    } else {
        bindings::ITER_DEST
    }
}

/// An I/O that has ended.
pub struct Finished {
    /// The buffer of the I/O.
    pub buffer: Buffer,
    /// Bytes transferred, or a negative error number.
    pub result: isize,
    /// Whether it ended asynchronously, and not within the call that began it.
    pub was_async: bool,
    /// Whether the file that the completion got is the one that it was begun on.
    pub same_file: bool,
}

/// The reported result of an I/O.
struct Told {
    same_file: AtomicBool,
    finished: SetOnce<Finished>,
}

/// An I/O under way.
pub struct Pending {
    told: Arc<Told>,
    /// The return value of the call that began it: 0, `-EIOCBQUEUED`, or another error number.
    pub returned: isize,
}

impl Pending {
    /// Waits for its end. Sleeps.
    #[track_caller]
    pub fn wait(&self) -> Outcome<&Finished> {
        let finished = &self.told.finished;
        crate::wait_until("the I/O to end", || finished.as_ref().is_some())?;
        finished
            .as_ref()
            .ok_or_else(|| crate::Stop::failed("an end", format_args!("there is none")))
    }

    /// Returns whether the I/O was still under way when the call that began it had returned.
    pub fn was_queued(&self) -> bool {
        self.returned == -(bindings::EIOCBQUEUED as isize)
    }
}

/// Checks the file that the completion gets.
struct Owner {
    file: *const File,
    told: Arc<Told>,
}

// SAFETY: The pointer is only compared; the rest belongs to no thread.
unsafe impl Send for Owner {}

impl IoCompletion for Owner {
    fn complete(self, file: &File, result: isize, _: bool) -> isize {
        let same_file = core::ptr::eq(file, self.file);
        self.told.same_file.store(same_file, Ordering::Relaxed);
        result
    }
}

/// Owns the memory until the end of the I/O.
struct Loan {
    buffer: Buffer,
    /// The segment that the iterator refers to.
    _segment: KBox<bindings::kvec>,
    told: Arc<Told>,
}

// SAFETY: The pointer in the segment is one to the buffer, which belongs to no thread.
unsafe impl Send for Loan {}

impl Lender for Loan {
    fn tell(self, result: isize, was_async: bool) {
        let finished = Finished {
            buffer: self.buffer,
            result,
            was_async,
            same_file: self.told.same_file.load(Ordering::Relaxed),
        };
        // The buffer goes to the waiter.
        self.told.finished.populate(finished);
    }
}

fn submit<D: Direction>(file: &File, pos: i64, mut buffer: Buffer) -> Outcome<Pending> {
    let told = Told {
        same_file: AtomicBool::new(false),
        finished: SetOnce::new(),
    };
    let told = Arc::new(told, GFP_KERNEL)?;
    let slot = RequestSlot::new()?;
    // The memory stays in its place when the vector that owns it is moved.
    let segment = KBox::new(buffer.segment(), GFP_KERNEL)?;
    let mut iter = MaybeUninit::<bindings::iov_iter>::zeroed();
    // SAFETY: One segment of memory; the loan has both until the I/O has ended.
    unsafe {
        bindings::iov_iter_kvec(
            iter.as_mut_ptr(),
            direction::<D>(),
            &*segment,
            1,
            segment.iov_len,
        )
    };
    // SAFETY: Initialised just now, over memory that nobody else uses.
    let iter = unsafe { IovIter::<D>::copy_of(iter.as_ptr()) };
    let loan = Loan {
        buffer,
        _segment: segment,
        told: told.clone(),
    };
    let owner = Owner {
        file,
        told: told.clone(),
    };
    // SAFETY: The loan has the memory, and what says where it is; the iterator is this one's alone.
    let transfer = unsafe { Transfer::new(iter, loan) };
    let returned = slot.submit(file.into(), pos, transfer, owner);
    Ok(Pending { told, returned })
}

/// Begins a direct read of the file at `pos` (bytes) that fills the buffer.
pub fn submit_read(file: &File, pos: i64, buffer: Buffer) -> Outcome<Pending> {
    submit::<Dest>(file, pos, buffer)
}

/// Begins a direct write to the file at `pos` (bytes) of the whole buffer.
pub fn submit_write(file: &File, pos: i64, buffer: Buffer) -> Outcome<Pending> {
    submit::<Source>(file, pos, buffer)
}
