// SPDX-License-Identifier: GPL-2.0

//! The extended attribute by which a cache file or a volume directory is recognised.
//!
//! ```text
//! file     be64 object_size, be64 zero_point (0), u8 type (1), u8 content, coherency data
//! volume   be32 0, coherency data
//! ```
//!
//! Free of kernel calls: compiled into the module and into the host-side tests.

/// Bytes in front of a file's coherency data.
pub(crate) const FILE_HEADER_LEN: usize = 18;
/// Bytes in front of a volume's coherency data.
pub(crate) const VOLUME_HEADER_LEN: usize = 4;
/// netfs gives the length of coherency data in one byte.
const MAX_COHERENCY_LEN: usize = 255;
/// Bytes that are enough for a file's attribute with up to [`SHORT_COHERENCY_LEN`] of coherency
/// data: what there is in practice, and not as much to clear for each file that is opened.
pub(crate) const SHORT_LEN: usize = 64;
pub(crate) const SHORT_COHERENCY_LEN: usize = SHORT_LEN - FILE_HEADER_LEN;
/// Enough for either attribute.
pub(crate) const MAX_LEN: usize = FILE_HEADER_LEN + MAX_COHERENCY_LEN;

/// The only type of file there is.
const TYPE_DATA: u8 = 1;

/// What a cache file holds of its object, as kept on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Content {
    /// Nothing, or what the backing file system's map of the file says.
    NoData = 0,
    /// Written to and not sent to the server yet; only ever met on disk, after a crash.
    Dirty = 4,
}

/// Why an attribute does not fit the object, in the order in which it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// Not of the expected length.
    Length,
    /// A file of another type.
    Type,
    /// Other coherency data.
    Coherency,
    /// Another size.
    ObjectSize,
    /// Left behind with unsaved changes.
    Dirty,
    /// Not zero where it has to be.
    Reserved,
}

/// An attribute in its final form, of at most `N` bytes.
pub(crate) struct Attribute<const N: usize = MAX_LEN> {
    buf: [u8; N],
    len: usize,
}

impl<const N: usize> Attribute<N> {
    /// Makes a buffer to read an attribute with `coherency_len` bytes of coherency data into.
    fn empty(header_len: usize, coherency_len: usize) -> Self {
        Self {
            buf: [0; N],
            len: (header_len + coherency_len).min(N),
        }
    }

    pub(crate) fn empty_file(coherency: &[u8]) -> Self {
        Self::empty(FILE_HEADER_LEN, coherency.len())
    }

    pub(crate) fn empty_volume(coherency: &[u8]) -> Self {
        Self::empty(VOLUME_HEADER_LEN, coherency.len())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or(&[])
    }

    pub(crate) fn as_bytes_mut(&mut self) -> &mut [u8] {
        self.buf.get_mut(..self.len).unwrap_or(&mut [])
    }
}

impl Attribute {
    pub(crate) fn file(object_size: u64, content: Content, coherency: &[u8]) -> Self {
        let zero_point = 0u64;
        let mut attribute = Self {
            buf: [0; MAX_LEN],
            len: 0,
        };
        attribute.put(&object_size.to_be_bytes());
        attribute.put(&zero_point.to_be_bytes());
        attribute.put(&[TYPE_DATA, content as u8]);
        attribute.put(coherency);
        attribute
    }

    pub(crate) fn volume(coherency: &[u8]) -> Self {
        let mut attribute = Self {
            buf: [0; MAX_LEN],
            len: 0,
        };
        attribute.put(&0u32.to_be_bytes());
        attribute.put(coherency);
        attribute
    }

    /// Adds bytes. Coherency data longer than netfs can have is cut off.
    fn put(&mut self, bytes: &[u8]) {
        for (to, from) in self.buf.iter_mut().skip(self.len).zip(bytes) {
            *to = *from;
            self.len += 1;
        }
    }
}

/// Returns the content byte of a file's attribute, for the trace.
pub(crate) fn content_byte(attribute: &[u8]) -> u8 {
    attribute.get(FILE_HEADER_LEN - 1).copied().unwrap_or(0)
}

/// Returns the object's size that a file's attribute gives, in bytes.
pub(crate) fn noted_size(attribute: &[u8]) -> Option<u64> {
    attribute
        .first_chunk()
        .map(|&size| u64::from_be_bytes(size))
}

/// Compares what was found on a file with what its object should have.
pub(crate) fn check_file(found: &[u8], object_size: u64, coherency: &[u8]) -> Result<(), Mismatch> {
    let Some((header, data)) = found.split_first_chunk::<FILE_HEADER_LEN>() else {
        return Err(Mismatch::Length);
    };
    if data.len() != coherency.len() {
        return Err(Mismatch::Length);
    }
    let (Some((size, _)), Some(&[kind, content])) =
        (header.split_first_chunk(), header.last_chunk())
    else {
        return Err(Mismatch::Length);
    };
    if kind != TYPE_DATA {
        return Err(Mismatch::Type);
    }
    if data != coherency {
        return Err(Mismatch::Coherency);
    }
    if u64::from_be_bytes(*size) != object_size {
        return Err(Mismatch::ObjectSize);
    }
    if content == Content::Dirty as u8 {
        return Err(Mismatch::Dirty);
    }
    Ok(())
}

/// Compares what was found on a volume directory with what the volume should have.
pub(crate) fn check_volume(found: &[u8], coherency: &[u8]) -> Result<(), Mismatch> {
    let Some((header, data)) = found.split_first_chunk::<VOLUME_HEADER_LEN>() else {
        return Err(Mismatch::Length);
    };
    if data.len() != coherency.len() {
        return Err(Mismatch::Length);
    }
    if *header != [0; VOLUME_HEADER_LEN] {
        return Err(Mismatch::Reserved);
    }
    if data != coherency {
        return Err(Mismatch::Coherency);
    }
    Ok(())
}
