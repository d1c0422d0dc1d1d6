// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: whatever is on the disk.

use crate::driver::layout::{
    Attribute, Content, MAX_LEN, Mismatch, check_file, check_volume, content_byte,
};
use crate::{take, take_u64};

/// Takes the input for an attribute, and for what it should be.
pub fn layout(data: &[u8]) {
    let mut rest = data;
    let size = take_u64(&mut rest);
    let coherency = take(&mut rest, usize::from(size as u8));
    let found = rest;

    assert_eq!(
        check_file(found, size, coherency),
        expected_file(found, size, coherency)
    );
    assert_eq!(
        check_volume(found, coherency),
        expected_volume(found, coherency)
    );
    assert_eq!(content_byte(found), found.get(17).copied().unwrap_or(0));

    // What we write we know again, and one bit more or less we don't.
    let file = Attribute::file(size, Content::NoData, coherency);
    assert!(file.as_bytes().len() <= MAX_LEN);
    assert_eq!(check_file(file.as_bytes(), size, coherency), Ok(()));
    let dirty = Attribute::file(size, Content::Dirty, coherency);
    assert_eq!(
        check_file(dirty.as_bytes(), size, coherency),
        Err(Mismatch::Dirty)
    );
    let volume = Attribute::volume(coherency);
    assert_eq!(check_volume(volume.as_bytes(), coherency), Ok(()));
    if let Some(&at) = found.first() {
        let mut changed = volume.as_bytes().to_vec();
        let at = usize::from(at) % changed.len();
        changed[at] ^= 1;
        assert_ne!(check_volume(&changed, coherency), Ok(()));
    }
    assert_eq!(
        Attribute::<MAX_LEN>::empty_file(coherency).as_bytes().len(),
        file.as_bytes().len()
    );
}

fn expected_file(found: &[u8], size: u64, coherency: &[u8]) -> Result<(), Mismatch> {
    if found.len() != 18 + coherency.len() {
        return Err(Mismatch::Length);
    }
    let checks = [
        (found[16] == 1, Mismatch::Type),
        (&found[18..] == coherency, Mismatch::Coherency),
        (found[..8] == size.to_be_bytes(), Mismatch::ObjectSize),
        (found[17] != 4, Mismatch::Dirty),
    ];
    match checks.into_iter().find(|(fits, _)| !fits) {
        Some((_, mismatch)) => Err(mismatch),
        None => Ok(()),
    }
}

fn expected_volume(found: &[u8], coherency: &[u8]) -> Result<(), Mismatch> {
    if found.len() != 4 + coherency.len() {
        Err(Mismatch::Length)
    } else if found[..4] != [0; 4] {
        Err(Mismatch::Reserved)
    } else if &found[4..] != coherency {
        Err(Mismatch::Coherency)
    } else {
        Ok(())
    }
}
