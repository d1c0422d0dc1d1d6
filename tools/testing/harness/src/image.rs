// SPDX-License-Identifier: GPL-2.0
//! Small EROFS images, made here so that every layout can be asked for, whatever mkfs.erofs is
//! installed: flat, with an inline tail, chunked over several devices, and compressed by LZ4.
//!
//! The format is that of the kernel's `fs/erofs/erofs_fs.h`. Block 0 holds the super block and the
//! device table, then come the inodes, the root directory and the data.

use std::collections::BTreeMap;

use crate::lz4;

/// Size of a block, of a page, and the unit of everything in an image.
pub const BLOCK: usize = 4096;

/// Where a chunk lies: on the primary device (0), on an extra one (from 1), or nowhere.
pub type Place = Option<u16>;

const MAGIC: u32 = 0xe0f5_e1e2;
const SUPER_OFFSET: usize = 1024;
const DEVICE_SLOT: usize = 128;
/// First slot of a device table that fits behind the super block. A larger one lies at the end.
const NEAR_SLOT: usize = 16;
const INODE_SLOT: usize = 32;
const INODE_SIZE: usize = 64;
/// The inodes start here, not at 0: number 0 is no file for many programs.
const FIRST_NID: usize = 2;
/// Compressed data ends with its block, and zeros lie in front.
const FEATURE_ZERO_PADDING: u32 = 0x1;
const FEATURE_CHUNKED: u32 = 0x4;
const FEATURE_DEVICES: u32 = 0x8;
const FLAT_PLAIN: u16 = 0;
const COMPRESSED: u16 = 1;
const FLAT_INLINE: u16 = 2;
const CHUNK_BASED: u16 = 4;
const CHUNK_INDEXES: u32 = 0x20;
const NOWHERE: u32 = u32::MAX;
const TYPE_FILE: u8 = 1;
const TYPE_DIR: u8 = 2;

enum Layout {
    Plain,
    Inline,
    Compressed { device: u16 },
    Chunked { blocks: usize, places: Vec<Place> },
}

struct File {
    name: String,
    data: Vec<u8>,
    layout: Layout,
}

/// Collects files, then lays them out.
#[derive(Default)]
pub struct Builder {
    files: Vec<File>,
    devices: Vec<Vec<u8>>,
}

/// An image: the primary blob, the extra ones by key, and the files it shows.
#[derive(Debug, Clone)]
pub struct Image {
    /// What the file system id names.
    pub primary: Vec<u8>,
    /// Key (the device's tag) and content of the extra blobs, in the order of the device table.
    pub blobs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Name and content of every file.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Offset in the primary blob behind all metadata.
    pub data_start: u64,
}

/// `length` bytes that are like no others: neither zero nor a repetition.
pub fn pattern(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut bytes = Vec::with_capacity(length + 4);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

impl Builder {
    /// An image without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// An extra device. Its key must fit the 64 bytes of a tag.
    pub fn device(mut self, key: impl AsRef<[u8]>) -> Self {
        assert!(key.as_ref().len() <= 64, "a tag has 64 bytes");
        self.devices.push(key.as_ref().to_vec());
        self
    }

    /// A file in whole blocks of the primary blob.
    pub fn plain(self, name: &str, data: Vec<u8>) -> Self {
        self.file(name, data, Layout::Plain)
    }

    /// A file whose last, partial block lies behind its inode, in the same block.
    pub fn inline(self, name: &str, data: Vec<u8>) -> Self {
        let tail = data.len() % BLOCK;
        assert!(
            tail > 0 && tail <= BLOCK - INODE_SIZE,
            "no tail that can be put inline"
        );
        self.file(name, data, Layout::Inline)
    }

    /// A file compressed by LZ4 into blocks of the primary blob, each of which stands for
    /// [`lz4::SPAN`] blocks of the file. Its content is made by [`lz4::compressible`].
    pub fn compressed(self, name: &str, data: Vec<u8>) -> Self {
        self.compressed_on(0, name, data)
    }

    /// The same on a device: the primary one (0), or an extra one (from 1).
    pub fn compressed_on(self, device: u16, name: &str, data: Vec<u8>) -> Self {
        self.file(name, data, Layout::Compressed { device })
    }

    /// A file in chunks of `blocks` blocks (a power of two), each in the place given for it; the
    /// list of places is used over and over. What is placed nowhere must be zeros.
    pub fn chunked(self, name: &str, data: Vec<u8>, blocks: usize, places: &[Place]) -> Self {
        let places = places.to_vec();
        self.file(name, data, Layout::Chunked { blocks, places })
    }

    fn file(mut self, name: &str, data: Vec<u8>, layout: Layout) -> Self {
        self.files.push(File {
            name: name.into(),
            data,
            layout,
        });
        self
    }

    /// Lays the image out.
    pub fn build(mut self) -> Image {
        self.files.sort_by(|a, b| a.name.cmp(&b.name));
        // Where every inode lies, with what has to follow it in the same block.
        let mut end = FIRST_NID * INODE_SLOT + INODE_SIZE;
        let nids: Vec<usize> = self
            .files
            .iter()
            .map(|file| {
                let size = INODE_SIZE + file.bytes_behind_inode();
                let mut start = end.next_multiple_of(INODE_SLOT);
                if start % BLOCK + size > BLOCK {
                    start = start.next_multiple_of(BLOCK);
                }
                end = start + size;
                start / INODE_SLOT
            })
            .collect();
        let mut meta = vec![0; end.next_multiple_of(BLOCK)];
        let directory = self.directory(&nids);
        let directory_block = 1 + meta.len() / BLOCK;
        let mut disks = vec![Vec::new(); 1 + self.devices.len()];
        disks[0] = vec![0; BLOCK + meta.len()];
        append(&mut disks[0], &directory);
        let data_start = disks[0].len() as u64;

        let root = inode(
            FLAT_PLAIN,
            0o040_755,
            directory.len(),
            u32_of(directory_block),
        );
        put(&mut meta, FIRST_NID * INODE_SLOT, &root);
        for (file, nid) in self.files.iter().zip(&nids) {
            let at = nid * INODE_SLOT;
            let (bytes, behind) = file.lay_out(&mut disks);
            put(&mut meta, at, &bytes);
            put(&mut meta, at + INODE_SIZE, &behind);
        }
        put(&mut disks[0], BLOCK, &meta);
        self.put_super_block(&mut disks);

        let mut disks = disks.into_iter();
        Image {
            primary: disks.next().unwrap_or_default(),
            blobs: self.devices.into_iter().zip(disks).collect(),
            files: self
                .files
                .into_iter()
                .map(|file| (file.name, file.data))
                .collect(),
            data_start,
        }
    }

    /// The root directory. Names are sorted within and over its blocks.
    fn directory(&self, nids: &[usize]) -> Vec<u8> {
        let mut entries = vec![(".", FIRST_NID, TYPE_DIR), ("..", FIRST_NID, TYPE_DIR)];
        let files = self.files.iter().zip(nids);
        entries.extend(files.map(|(file, nid)| (file.name.as_str(), *nid, TYPE_FILE)));
        entries.sort_by_key(|(name, ..)| *name);
        let mut directory = Vec::new();
        let mut rest = entries.as_slice();
        while !rest.is_empty() {
            let mut used = 0;
            let fitting = rest
                .iter()
                .take_while(|(name, ..)| {
                    used += 12 + name.len();
                    used <= BLOCK
                })
                .count();
            let (block, later) = rest.split_at(fitting);
            rest = later;
            directory.resize(directory.len().next_multiple_of(BLOCK), 0);
            let mut name_offset = 12 * block.len();
            for (name, nid, kind) in block {
                directory.extend_from_slice(&(*nid as u64).to_le_bytes());
                directory.extend_from_slice(&u16_of(name_offset).to_le_bytes());
                directory.extend_from_slice(&[*kind, 0]);
                name_offset += name.len();
            }
            for (name, ..) in block {
                directory.extend_from_slice(name.as_bytes());
            }
        }
        directory
    }

    fn put_super_block(&self, disks: &mut [Vec<u8>]) {
        let mut features = 0;
        if self
            .files
            .iter()
            .any(|file| matches!(file.layout, Layout::Chunked { .. }))
        {
            features |= FEATURE_CHUNKED;
        }
        if !self.devices.is_empty() {
            features |= FEATURE_DEVICES;
        }
        let is_compressed = |file: &File| matches!(file.layout, Layout::Compressed { .. });
        if self.files.iter().any(is_compressed) {
            features |= FEATURE_ZERO_PADDING;
        }
        let table = if NEAR_SLOT + self.devices.len() <= BLOCK / DEVICE_SLOT {
            NEAR_SLOT
        } else {
            let size = self.devices.len() * DEVICE_SLOT;
            let start = append(&mut disks[0], &vec![0; size]) as usize;
            start * (BLOCK / DEVICE_SLOT)
        };
        let blocks: Vec<u32> = disks
            .iter()
            .map(|disk| u32_of(disk.len() / BLOCK))
            .collect();
        let (primary, extra) = (blocks[0], &blocks[1..]);
        let disk = &mut disks[0];
        let at = SUPER_OFFSET;
        put(disk, at, &MAGIC.to_le_bytes());
        disk[at + 12] = BLOCK.trailing_zeros() as u8;
        put(disk, at + 14, &u16_of(FIRST_NID).to_le_bytes());
        put(disk, at + 16, &(1 + self.files.len() as u64).to_le_bytes());
        put(disk, at + 36, &primary.to_le_bytes());
        put(disk, at + 40, &1u32.to_le_bytes());
        put(disk, at + 80, &features.to_le_bytes());
        put(disk, at + 86, &u16_of(self.devices.len()).to_le_bytes());
        put(disk, at + 88, &u16_of(table).to_le_bytes());
        for (index, (key, blocks)) in self.devices.iter().zip(extra).enumerate() {
            let slot = (table + index) * DEVICE_SLOT;
            put(disk, slot, key);
            put(disk, slot + 64, &blocks.to_le_bytes());
            if self
                .files
                .iter()
                .any(|file| file.is_compressed_on(1 + index))
            {
                put(disk, slot + 68, &mapped_at(1 + index).to_le_bytes());
            }
        }
    }
}

/// Where the blocks of a device lie for who does not name it, as a compressed file: all devices in
/// a row.
fn mapped_at(device: usize) -> u32 {
    u32_of(device) << 20
}

impl File {
    fn is_compressed_on(&self, index: usize) -> bool {
        matches!(self.layout, Layout::Compressed { device } if usize::from(device) == index)
    }

    fn bytes_behind_inode(&self) -> usize {
        match &self.layout {
            Layout::Plain => 0,
            Layout::Inline => self.data.len() % BLOCK,
            Layout::Compressed { .. } => lz4::map_size(self.data.len()),
            Layout::Chunked { blocks, .. } => 8 * self.data.len().div_ceil(blocks * BLOCK),
        }
    }

    /// Puts the data on the disks; returns the inode and what follows it.
    fn lay_out(&self, disks: &mut [Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
        let (mode, size) = (0o100_644, self.data.len());
        match &self.layout {
            Layout::Plain => {
                let block = append(&mut disks[0], &self.data);
                (inode(FLAT_PLAIN, mode, size, block), Vec::new())
            }
            Layout::Inline => {
                let (whole, tail) = self.data.split_at(size - size % BLOCK);
                let block = append(&mut disks[0], whole);
                (inode(FLAT_INLINE, mode, size, block), tail.to_vec())
            }
            Layout::Compressed { device } => {
                let device = usize::from(*device);
                let blocks = lz4::pack(&self.data);
                let first = mapped_at(device) + append(&mut disks[device], &blocks.concat());
                // Where an uncompressed file has the address of its data.
                let inode = inode(COMPRESSED, mode, size, u32_of(blocks.len()));
                (inode, lz4::map(size, first))
            }
            Layout::Chunked { blocks, places } => {
                let mut indexes = Vec::new();
                let chunks = self.data.chunks(blocks * BLOCK);
                for (chunk, place) in chunks.zip(places.iter().cycle()) {
                    let (device, block) = match place {
                        Some(device) => (*device, append(&mut disks[usize::from(*device)], chunk)),
                        None => (0, NOWHERE),
                    };
                    indexes.extend_from_slice(&0u16.to_le_bytes());
                    indexes.extend_from_slice(&device.to_le_bytes());
                    indexes.extend_from_slice(&block.to_le_bytes());
                }
                let format = CHUNK_INDEXES | blocks.trailing_zeros();
                (inode(CHUNK_BASED, mode, size, format), indexes)
            }
        }
    }
}

/// An extended inode. `what` is a block address, the format of the chunks, or how many blocks are
/// compressed.
fn inode(layout: u16, mode: u16, size: usize, what: u32) -> Vec<u8> {
    let mut bytes = vec![0; INODE_SIZE];
    put(&mut bytes, 0, &(1 | (layout << 1)).to_le_bytes());
    put(&mut bytes, 4, &mode.to_le_bytes());
    put(&mut bytes, 8, &(size as u64).to_le_bytes());
    put(&mut bytes, 16, &what.to_le_bytes());
    put(&mut bytes, 44, &1u32.to_le_bytes());
    bytes
}

/// Appends whole blocks, and returns the number of the first.
fn append(disk: &mut Vec<u8>, data: &[u8]) -> u32 {
    let block = disk.len() / BLOCK;
    disk.extend_from_slice(data);
    disk.resize(disk.len().next_multiple_of(BLOCK), 0);
    u32_of(block)
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    bytes[at..at + what.len()].copy_from_slice(what);
}

fn u32_of(value: usize) -> u32 {
    u32::try_from(value).expect("images are small")
}

fn u16_of(value: usize) -> u16 {
    u16::try_from(value).expect("images are small")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_put_the_data_where_the_index_says() {
        let image = Builder::new()
            .device("one")
            .plain("p", pattern(1, 5000))
            .inline("i", pattern(2, 4100))
            .chunked("c", pattern(3, 3 * BLOCK), 1, &[Some(0), Some(1)])
            .build();
        assert_eq!(image.primary.len() % BLOCK, 0);
        assert_eq!(image.primary[1024..1028], MAGIC.to_le_bytes());
        // Sorted by name: c's blocks 0 and 2, then i's one, then p's two.
        let data = &image.primary[image.data_start as usize..];
        assert_eq!(data[..BLOCK], pattern(3, 3 * BLOCK)[..BLOCK]);
        assert_eq!(data[BLOCK..2 * BLOCK], pattern(3, 3 * BLOCK)[2 * BLOCK..]);
        assert_eq!(data[2 * BLOCK..3 * BLOCK], pattern(2, 4100)[..BLOCK]);
        assert_eq!(data[3 * BLOCK..][..5000], pattern(1, 5000)[..]);
        assert_eq!(
            image.blobs[0].1[..],
            pattern(3, 3 * BLOCK)[BLOCK..2 * BLOCK]
        );
    }

    #[test]
    fn many_names_take_several_directory_blocks() {
        let mut builder = Builder::new();
        for number in 0..300 {
            builder = builder.plain(&format!("file-{number:03}"), vec![1]);
        }
        let image = builder.build();
        assert_eq!(image.files.len(), 300);
        assert!(image.data_start as usize >= 4 * BLOCK);
    }
}
