// SPDX-License-Identifier: GPL-2.0

use super::first_part::FirstPart;

#[test]
fn a_part_of_a_page_is_not_taken_for_the_page() {
    let part = |data_end, i_size| FirstPart::of(0, data_end, i_size, 4096).unwrap();
    // Blocks of 1 KiB, of which the last of the object was lost.
    assert_eq!(part(1024, 3000), FirstPart::Fetched);
    assert_eq!(
        part(5 * 4096 + 2048, 6 * 4096 - 100),
        FirstPart::Cached(4 * 4096)
    );
    assert_eq!(part(4096 + 2048, 2 * 4096 - 100), FirstPart::FetchedOnly);
    // And in the middle.
    assert_eq!(part(5 * 4096 + 2048, 1 << 20), FirstPart::Cached(5 * 4096));
    // The end of the object is all there, in a part of its last page.
    assert_eq!(part(1024, 1000), FirstPart::Cached(4096));
    assert_eq!(part(4096, 1000), FirstPart::Cached(4096));
    assert_eq!(FirstPart::of(0, i64::MAX - 1, 1000, 4096), None);
}

#[test]
fn what_is_left_to_fetch_is_no_less_than_a_page() {
    let part =
        |start: i64, pages: i64| FirstPart::of(start, pages * 4096, 8 * 4096 + 1, 4096).unwrap();
    assert_eq!(part(0, 7), FirstPart::Cached(7 * 4096));
    assert_eq!(part(0, 8), FirstPart::Cached(7 * 4096));
    assert_eq!(part(7 * 4096, 8), FirstPart::FetchedOnly);
    assert_eq!(part(6 * 4096, 7), FirstPart::Cached(7 * 4096));
}
