// SPDX-License-Identifier: GPL-2.0

use super::layout::{check_file, check_volume, Attribute, Content, Mismatch, MAX_LEN};
use proptest::prelude::*;

#[test]
fn a_file_attribute_has_its_fields_where_the_format_says() {
    let attribute = Attribute::file(0x0102_0304_0506_0708, Content::Dirty, b"aux");
    assert_eq!(
        attribute.as_bytes(),
        b"\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\0\0\0\0\0\x01\x04aux"
    );
}

#[test]
fn a_volume_attribute_is_zero_and_the_coherency_data() {
    assert_eq!(Attribute::volume(b"data").as_bytes(), b"\0\0\0\0data");
}

#[test]
fn each_difference_is_named() {
    let good = Attribute::file(5, Content::NoData, b"aux");
    let with = |at: usize, byte: u8| {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] = byte;
        check_file(&bytes, 5, b"aux")
    };
    assert_eq!(check_file(good.as_bytes(), 5, b"aux"), Ok(()));
    assert_eq!(with(16, 2), Err(Mismatch::Type));
    assert_eq!(with(18, b'x'), Err(Mismatch::Coherency));
    assert_eq!(with(0, 1), Err(Mismatch::ObjectSize));
    assert_eq!(with(17, 4), Err(Mismatch::Dirty));
    assert_eq!(with(17, 3), Ok(()));
    assert_eq!(
        check_file(good.as_bytes(), 5, b"auxi"),
        Err(Mismatch::Length)
    );
    assert_eq!(check_file(&[], 5, b""), Err(Mismatch::Length));
    assert_eq!(check_volume(b"\0\0\0\0x", b"x"), Ok(()));
    assert_eq!(check_volume(b"\0\0\x01\0x", b"x"), Err(Mismatch::Reserved));
    assert_eq!(check_volume(b"\0\0\0\0y", b"x"), Err(Mismatch::Coherency));
    assert_eq!(check_volume(b"\0\0\0", b""), Err(Mismatch::Length));
}

proptest! {
    #[test]
    fn what_was_written_is_recognised(
        size: u64,
        aux in prop::collection::vec(any::<u8>(), 0..=255),
    ) {
        let attribute = Attribute::file(size, Content::NoData, &aux);
        prop_assert_eq!(attribute.as_bytes().len(), 18 + aux.len());
        prop_assert_eq!(check_file(attribute.as_bytes(), size, &aux), Ok(()));
        let empty = Attribute::<MAX_LEN>::empty_file(&aux);
        prop_assert_eq!(empty.as_bytes().len(), attribute.as_bytes().len());
        prop_assert_eq!(check_volume(Attribute::volume(&aux).as_bytes(), &aux), Ok(()));
    }

    #[test]
    fn no_bytes_make_the_checks_panic(
        found in prop::collection::vec(any::<u8>(), 0..300),
        aux in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let _ = check_file(&found, 0, &aux);
        let _ = check_volume(&found, &aux);
    }
}
