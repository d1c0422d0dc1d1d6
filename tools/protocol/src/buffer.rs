// SPDX-License-Identifier: GPL-2.0
//! Page-aligned memory, as direct I/O wants it, without an allocator of our own.

use std::ops::{Deref, DerefMut};

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// One page; the type carries the alignment.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Page([u8; 4096]);

/// A buffer of whole pages, zeroed at first.
#[derive(Clone)]
pub struct AlignedBuffer {
    pages: Vec<Page>,
}

impl AlignedBuffer {
    /// A buffer of at least `len` bytes, rounded up to pages.
    pub fn new(len: usize) -> Self {
        let count = len.div_ceil(size_of::<Page>());
        // Page by page, so that no page ever lies on the stack.
        let mut pages = Vec::with_capacity(count);
        pages.resize_with(count, Page::new_zeroed);
        Self { pages }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.pages.as_slice().as_bytes()
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.pages.as_mut_slice().as_mut_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_whole_pages_of_aligned_zeros() {
        for (wanted, got) in [(0, 0), (1, 4096), (4096, 4096), (4097, 8192)] {
            let buffer = AlignedBuffer::new(wanted);
            assert_eq!(buffer.len(), got);
            assert_eq!(buffer.as_ptr() as usize % 4096, 0);
            assert!(buffer.iter().all(|&byte| byte == 0));
        }
    }
}
