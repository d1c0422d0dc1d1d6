// SPDX-License-Identifier: GPL-2.0

//! What a write brings: only how much.

/// Bytes to be written.
pub struct IovIter {
    len: usize,
}

impl IovIter {
    /// So many bytes.
    pub fn new(len: usize) -> Self {
        Self { len }
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
