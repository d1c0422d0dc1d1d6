// SPDX-License-Identifier: GPL-2.0
//! Memory to hand to the kernel that is not what it should be: read-only, or at an end.

use anyhow::{Context as _, Result};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

const PAGE: usize = 4096;

/// Bytes that can be used.
pub const ROOM: usize = 64 * PAGE;

/// Room, a page that cannot be touched, and one that can only be read. Never unmapped: the kernel
/// may still work on it when its owner has lost interest.
pub struct Memory {
    base: *mut u8,
}

// SAFETY: the mapping belongs to this value alone, and to no thread.
unsafe impl Send for Memory {}

/// Where in it something is to be read to, or written from.
#[derive(Debug, Clone, Copy)]
pub enum Spot {
    /// At the start of a page, with all of the room behind it.
    Start,
    /// At the start of one of its pages.
    Page(u8),
    /// At an address that is not aligned.
    Askew(u16),
    /// So many bytes before the page that cannot be touched.
    End(u16),
    /// In the page that can only be read.
    ReadOnly,
    /// In the page that cannot be touched.
    Guard,
    /// Not mapped: in the zero page.
    Nowhere(u16),
    /// Where only the kernel may look.
    Kernel,
}

impl Memory {
    /// A piece of memory of its own.
    pub fn map() -> Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let length = ROOM + 2 * PAGE;
        // SAFETY: the kernel chooses the address, so no memory of this process is replaced.
        let base =
            unsafe { mmap_anonymous(std::ptr::null_mut(), length, protection, MapFlags::PRIVATE) }
                .context("mapping memory")?;
        let base = base.cast::<u8>();
        // SAFETY: both ranges lie in the mapping just made, to which nothing refers yet.
        unsafe {
            let guard = base.add(ROOM);
            mprotect(guard.cast(), PAGE, MprotectFlags::empty())?;
            mprotect(guard.add(PAGE).cast(), PAGE, MprotectFlags::READ)?;
        }
        Ok(Self { base })
    }

    /// The address of a spot, as a number: whether anything is there is for the kernel to find out.
    pub fn address(&self, spot: Spot) -> usize {
        let base = self.base as usize;
        match spot {
            Spot::Start => base,
            Spot::Page(page) => base + usize::from(page) * PAGE % ROOM,
            Spot::Askew(by) => base + usize::from(by) % PAGE,
            Spot::End(before) => base + ROOM - usize::from(before) % ROOM,
            Spot::Guard => base + ROOM,
            Spot::ReadOnly => base + ROOM + PAGE,
            Spot::Nowhere(at) => usize::from(at) % PAGE,
            Spot::Kernel => 0xffff_8880_0000_0000,
        }
    }

    /// How many bytes from there on can be written to.
    pub fn room(&self, spot: Spot) -> usize {
        match spot {
            Spot::Start => ROOM,
            Spot::Page(page) => ROOM - usize::from(page) * PAGE % ROOM,
            Spot::Askew(by) => ROOM - usize::from(by) % PAGE,
            Spot::End(before) => usize::from(before) % ROOM,
            Spot::ReadOnly | Spot::Guard | Spot::Nowhere(_) | Spot::Kernel => 0,
        }
    }

    /// A copy of what is there.
    pub fn get(&self, spot: Spot, length: usize) -> Vec<u8> {
        let length = length.min(self.room(spot));
        let mut bytes = vec![0; length];
        if length > 0 {
            let from = self.address(spot) as *const u8;
            // SAFETY: the range lies in the part of the mapping that can be read, and not in
            // `bytes`. The kernel may be writing to it: bytes are bytes, whichever they are.
            unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), length) };
        }
        bytes
    }

    /// Puts bytes there, as many as fit.
    pub fn put(&mut self, spot: Spot, bytes: &[u8]) {
        let length = bytes.len().min(self.room(spot));
        if length > 0 {
            let to = self.address(spot) as *mut u8;
            // SAFETY: the range lies in the part of the mapping that can be written to, and `bytes`
            // do not.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, length) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_before_the_end_is_cut_there() {
        let mut memory = Memory::map().unwrap();
        memory.put(Spot::End(3), b"hello");
        assert_eq!(memory.get(Spot::End(3), 10), b"hel");
        memory.put(Spot::ReadOnly, b"hello");
        assert_eq!(memory.get(Spot::ReadOnly, 5), b"");
    }
}
