// SPDX-License-Identifier: GPL-2.0

//! What a write brings: only how much.

use std::marker::PhantomData;

/// Bytes to be written.
pub struct IovIterSource<'a> {
    len: usize,
    _memory: PhantomData<&'a [u8]>,
}

impl IovIterSource<'_> {
    /// So many bytes.
    pub fn new(len: usize) -> Self {
        Self {
            len,
            _memory: PhantomData,
        }
    }

    /// Bytes left.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none are left.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
