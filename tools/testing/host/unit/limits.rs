// SPDX-License-Identifier: GPL-2.0

use super::limits::{BadLimit, Limit, Limits};
use proptest::prelude::*;

const ALL: [Limit; 6] = [
    Limit::FilesRun,
    Limit::FilesCull,
    Limit::FilesStop,
    Limit::BlocksRun,
    Limit::BlocksCull,
    Limit::BlocksStop,
];

#[test]
fn each_limit_sets_its_own_value() {
    let mut limits = Limits::DEFAULT;
    for (limit, text) in ALL
        .into_iter()
        .zip([b"30%", b"20%", b"10%", b"33%", b"22%", b"11%"])
    {
        limits.set(limit, text).unwrap();
    }
    assert_eq!(
        (limits.files.run, limits.files.cull, limits.files.stop),
        (30, 20, 10)
    );
    assert_eq!(
        (limits.blocks.run, limits.blocks.cull, limits.blocks.stop),
        (33, 22, 11)
    );
}

#[test]
fn what_is_not_a_percentage_is_malformed() {
    for text in [
        &b""[..],
        b"7",
        b"7%%",
        b"x%",
        b"7 %",
        b"-1%",
        b"+7%",
        b"0x7%",
        b" 7%",
    ] {
        assert_eq!(
            { Limits::DEFAULT }.set(Limit::FilesRun, text),
            Err(BadLimit::Malformed),
            "{text:?}"
        );
    }
}

#[test]
fn a_bare_percent_sign_is_zero() {
    let mut limits = Limits::DEFAULT;
    limits.set(Limit::BlocksStop, b"%").unwrap();
    assert_eq!(limits.blocks.stop, 0);
}

#[test]
fn amounts_are_whole_percents_of_the_total() {
    let amounts = Limits::DEFAULT.files.of(12_399);
    assert_eq!(
        (amounts.run, amounts.cull, amounts.stop),
        (7 * 123, 5 * 123, 123)
    );
}

proptest! {
    #[test]
    fn the_order_holds_whatever_is_set(
        settings in prop::collection::vec((0usize..6, 0u64..300), 0..40),
    ) {
        let mut limits = Limits::DEFAULT;
        for (which, percent) in settings {
            let before = limits;
            if limits.set(ALL[which], format!("{percent}%").as_bytes()).is_err() {
                prop_assert_eq!(limits, before);
            }
            for p in [limits.files, limits.blocks] {
                prop_assert!(p.stop < p.cull && p.cull < p.run && p.run < 100);
            }
        }
    }
}
