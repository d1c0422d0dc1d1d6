// SPDX-License-Identifier: GPL-2.0
//! As much of LZ4 and of EROFS's compressed layout as images of the tests need: each physical
//! cluster is one block, and what it stands for repeats itself, so that one literal run and one
//! match describe it.

use crate::image::{BLOCK, pattern};

/// Blocks of a file that one compressed block stands for.
pub const SPAN: usize = 4;

/// After so many bytes the content of a span repeats itself. As literals they leave room for the
/// rest in a block, and no two blocks of a span are equal.
const PERIOD: usize = 3700;

/// LZ4 wants these last bytes to be literals,
const TAIL: usize = 5;
/// and no match to begin in the last ones.
const NO_MATCH: usize = 12;
/// The shortest match; lengths are counted from it.
const MIN_MATCH: usize = 4;

/// The header behind the inode, and the space that the format leaves behind it.
const MAP_HEADER: usize = 8 + 8;
/// An entry for each block of the file.
const INDEX: usize = 8;
/// A span begins here.
const HEAD: u16 = 1;
/// Another block of it.
const NOT_HEAD: u16 = 2;

/// Content that [`pack`] can pack: `length` bytes, like those of [`pattern`] other than that they
/// repeat.
pub fn compressible(seed: u32, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let span = (bytes.len() / (SPAN * BLOCK)) as u32;
        let once = pattern(seed.wrapping_add(span.wrapping_mul(7919)), PERIOD);
        let end = length.min(bytes.len() + SPAN * BLOCK);
        while bytes.len() < end {
            let missing = end - bytes.len();
            bytes.extend_from_slice(&once[..missing.min(PERIOD)]);
        }
    }
    bytes
}

/// The spans of `data`, each as a block of an image: LZ4 that ends with the block, zeros in front.
pub fn pack(data: &[u8]) -> Vec<[u8; BLOCK]> {
    data.chunks(SPAN * BLOCK).map(pack_span).collect()
}

fn pack_span(span: &[u8]) -> [u8; BLOCK] {
    let mut packed = Vec::with_capacity(BLOCK);
    if span.len() < PERIOD + NO_MATCH {
        put_sequence(&mut packed, span, None);
    } else {
        assert!(
            span.iter().skip(PERIOD).eq(&span[..span.len() - PERIOD]),
            "not content made by compressible()"
        );
        let matched = span.len() - PERIOD - TAIL;
        put_sequence(&mut packed, &span[..PERIOD], Some((PERIOD, matched)));
        put_sequence(&mut packed, &span[span.len() - TAIL..], None);
    }
    let mut block = [0; BLOCK];
    block[BLOCK - packed.len()..].copy_from_slice(&packed);
    block
}

/// A token, literals, and what is copied from how far back.
fn put_sequence(packed: &mut Vec<u8>, literals: &[u8], copied: Option<(usize, usize)>) {
    let copied = copied.map(|(distance, length)| (distance, length - MIN_MATCH));
    let low = copied.map_or(0, |(_, length)| length.min(15));
    packed.push((literals.len().min(15) << 4 | low) as u8);
    put_length(packed, literals.len());
    packed.extend_from_slice(literals);
    if let Some((distance, length)) = copied {
        packed.extend_from_slice(&(distance as u16).to_le_bytes());
        put_length(packed, length);
    }
}

/// What of a length did not fit into the token's four bits.
fn put_length(packed: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(15) else {
        return;
    };
    while rest >= 255 {
        packed.push(255);
        rest -= 255;
    }
    packed.push(rest as u8);
}

/// How many bytes follow the inode of a compressed file.
pub fn map_size(length: usize) -> usize {
    MAP_HEADER + INDEX * length.div_ceil(BLOCK)
}

/// These bytes; the compressed blocks lie from block `first` on. All zeros in the header: LZ4,
/// blocks as the unit.
pub fn map(length: usize, first: u32) -> Vec<u8> {
    let mut map = vec![0; MAP_HEADER];
    for block in 0..length.div_ceil(BLOCK) {
        let (span, place) = (block / SPAN, block % SPAN);
        if place == 0 {
            map.extend_from_slice(&HEAD.to_le_bytes());
            map.extend_from_slice(&0u16.to_le_bytes());
            map.extend_from_slice(&(first + span as u32).to_le_bytes());
        } else {
            map.extend_from_slice(&NOT_HEAD.to_le_bytes());
            map.extend_from_slice(&0u16.to_le_bytes());
            // How far it is to the beginning of this span, and of the next.
            map.extend_from_slice(&(place as u16).to_le_bytes());
            map.extend_from_slice(&((SPAN - place) as u16).to_le_bytes());
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A decoder of LZ4 by the format's description, for content without errors.
    fn unpack(block: &[u8]) -> Vec<u8> {
        let start = block.iter().position(|&byte| byte != 0).unwrap();
        let mut bytes = block[start..].iter().copied();
        let mut data = Vec::new();
        let long = |bytes: &mut dyn Iterator<Item = u8>, low: u8| {
            let mut length = usize::from(low);
            if low == 15 {
                loop {
                    let more = bytes.next().unwrap();
                    length += usize::from(more);
                    if more != 255 {
                        break;
                    }
                }
            }
            length
        };
        while let Some(token) = bytes.next() {
            let literals = long(&mut bytes, token >> 4);
            data.extend(bytes.by_ref().take(literals));
            let Some(low) = bytes.next() else { break };
            let distance = usize::from(u16::from_le_bytes([low, bytes.next().unwrap()]));
            let length = MIN_MATCH + long(&mut bytes, token & 15);
            for _ in 0..length {
                data.push(data[data.len() - distance]);
            }
        }
        data
    }

    #[test]
    fn what_is_packed_is_unpacked_again() {
        for length in [
            1,
            14,
            15,
            270,
            PERIOD + 11,
            PERIOD + 12,
            BLOCK,
            9 * BLOCK,
            9 * BLOCK + 77,
        ] {
            let data = compressible(5, length);
            let blocks = pack(&data);
            assert_eq!(blocks.len(), length.div_ceil(SPAN * BLOCK));
            let seen: Vec<u8> = blocks.iter().flat_map(|block| unpack(block)).collect();
            assert_eq!(seen, data, "{length} bytes");
        }
    }

    #[test]
    fn every_block_has_its_entry() {
        let map = map(5 * BLOCK + 1, 100);
        assert_eq!(map.len(), map_size(5 * BLOCK + 1));
        let entry = |block: usize| &map[MAP_HEADER + block * INDEX..][..INDEX];
        assert_eq!(entry(0), [1, 0, 0, 0, 100, 0, 0, 0]);
        assert_eq!(entry(3), [2, 0, 0, 0, 3, 0, 1, 0]);
        assert_eq!(entry(4), [1, 0, 0, 0, 101, 0, 0, 0]);
        assert_eq!(entry(5), [2, 0, 0, 0, 1, 0, 3, 0]);
    }
}
