// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Aligned memory, as direct I/O wants it, without an allocator of our own.
//!
//! What direct I/O wants is the block size of the disk, which is 4096 at most, whatever a page is.

use std::ops::{Deref, DerefMut};

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// One block; the type carries the alignment.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Block([u8; 4096]);

/// A buffer of whole blocks of 4096 bytes, zeroed at first.
#[derive(Clone)]
pub struct AlignedBuffer {
    blocks: Vec<Block>,
}

impl AlignedBuffer {
    /// A buffer of at least `len` bytes, rounded up to blocks.
    pub fn new(len: usize) -> Self {
        let count = len.div_ceil(size_of::<Block>());
        // Block by block, so that none ever lies on the stack.
        let mut blocks = Vec::with_capacity(count);
        blocks.resize_with(count, Block::new_zeroed);
        Self { blocks }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.blocks.as_slice().as_bytes()
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.blocks.as_mut_slice().as_mut_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_whole_blocks_of_aligned_zeros() {
        for (wanted, got) in [(0, 0), (1, 4096), (4096, 4096), (4097, 8192)] {
            let buffer = AlignedBuffer::new(wanted);
            assert_eq!(buffer.len(), got);
            assert_eq!(buffer.as_ptr() as usize % 4096, 0);
            assert!(buffer.iter().all(|&byte| byte == 0));
        }
    }
}
