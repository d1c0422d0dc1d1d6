// SPDX-License-Identifier: GPL-2.0

use super::command::{
    parse, parse_cfail, parse_copen, parse_debug_mask, parse_readahead, parse_seconds, BadNumber,
    Cfail, Command, NotACommand, NAMES,
};
use super::limits::Limit;
use proptest::prelude::*;

#[test]
fn every_command_is_known_by_its_name() {
    for (text, command) in [
        (&b"bind"[..], Command::Bind(b"")),
        (b"bind ondemand", Command::Bind(b"ondemand")),
        (b"frun 7%", Command::Limit(Limit::FilesRun, b"7%")),
        (b"fcull 5%", Command::Limit(Limit::FilesCull, b"5%")),
        (b"fstop 1%", Command::Limit(Limit::FilesStop, b"1%")),
        (b"brun 7%", Command::Limit(Limit::BlocksRun, b"7%")),
        (b"bcull 5%", Command::Limit(Limit::BlocksCull, b"5%")),
        (b"bstop 1%", Command::Limit(Limit::BlocksStop, b"1%")),
        (b"cull name", Command::Cull(b"name")),
        (b"inuse name", Command::InUse(b"name")),
        (b"debug 7", Command::Debug(b"7")),
        (b"dir /a b", Command::Dir(b"/a b")),
        (b"tag t", Command::Tag(b"t")),
        (b"secctx c", Command::SecCtx(b"c")),
        (b"copen 1,2", Command::Copen(b"1,2")),
        (b"cfail 1,-5", Command::Cfail(b"1,-5")),
        (b"cfail", Command::Cfail(b"")),
        (b"timeout 30", Command::Timeout(b"30")),
        (b"linger 60", Command::Linger(b"60")),
        (b"readahead 1024", Command::Readahead(b"1024")),
        (b"attach t", Command::Attach(b"t")),
        (b"daemonless 1", Command::Daemonless(b"1")),
        (b"mixed 1", Command::Mixed(b"1")),
        (b"restore", Command::Restore),
        (b"restore whatever", Command::Restore),
    ] {
        assert_eq!(parse(text), Ok(command));
    }
}

/// The table in the documentation has a row for each command, and for nothing else.
#[test]
fn the_documentation_has_every_command() {
    let page = include_str!("../../../../Documentation/uapi.rst");
    let (_, table) = page.split_once("\nThe commands\n").unwrap();
    let (table, _) = table.split_once("\n\nCommands of our own\n").unwrap();
    let documented: Vec<&[u8]> = table
        .lines()
        .filter_map(|line| line.strip_prefix("   * - ``"))
        .filter_map(|row| row.split([' ', '`']).next())
        .map(str::as_bytes)
        .collect();
    assert_eq!(documented, NAMES);
}

#[test]
fn every_name_in_the_table_is_a_command() {
    for name in NAMES {
        assert!(parse(name).is_ok(), "{}", name.escape_ascii());
    }
}

#[test]
fn a_time_is_a_day_at_most() {
    for (text, seconds) in [
        ("0", 0),
        ("1", 1),
        ("86400", 86_400),
        ("0x10", 16),
        ("+5", 5),
    ] {
        assert_eq!(parse_seconds(text.as_bytes()), Ok(seconds));
    }
    for text in ["", "-1", "86401", "x", "5s", "1 2", "99999999999999999999"] {
        let parsed = parse_seconds(text.as_bytes());
        assert_eq!(parsed, Err(BadNumber::Malformed), "{text:?}");
    }
}

#[test]
fn readahead_is_16_mib_at_most() {
    for (text, kib) in [("0", 0), ("1024", 1024), ("16384", 16_384), ("0x10", 16)] {
        assert_eq!(parse_readahead(text.as_bytes()), Ok(kib));
    }
    for text in ["", "-1", "16385", "x", "5k", "1 2", "99999999999999999999"] {
        let parsed = parse_readahead(text.as_bytes());
        assert_eq!(parsed, Err(BadNumber::Malformed), "{text:?}");
    }
}

#[test]
fn what_a_read_can_fail_with_is_an_errno() {
    for errno in [-1, -5, -110, -4095] {
        let text = format!("7,{errno}");
        assert_eq!(parse_cfail(text.as_bytes()), Ok(Cfail { id: 7, errno }));
    }
    for text in [
        "",
        "7",
        "7,",
        "7,0",
        "7,-0",
        "7,5",
        "7,-4096",
        "7,-x",
        "x,-5",
        ",-5",
        "7,-5,",
        "7, -5",
        "7,-99999999999999999999",
        "7,99999999999999999999",
    ] {
        let parsed = parse_cfail(text.as_bytes());
        assert_eq!(parsed, Err(BadNumber::Malformed), "{text:?}");
    }
    let parsed = parse_cfail(b"99999999999999999999,-5");
    assert_eq!(parsed, Err(BadNumber::TooLarge));
}

#[test]
fn white_space_ends_the_name_and_is_skipped_before_the_argument() {
    for space in [b' ', b'\t', 0x0b, 0x0c, b'\r', 0xa0] {
        let text = [b"tag".as_slice(), &[space, space], b"x ", &[space]].concat();
        assert_eq!(parse(&text), Ok(Command::Tag(&[b'x', b' ', space])));
    }
}

#[test]
fn what_follows_a_newline_is_dropped() {
    assert_eq!(parse(b"tag x\nfrun 1%\n"), Ok(Command::Tag(b"x")));
}

#[test]
fn nul_and_leading_newline_are_malformed_all_else_is_unknown() {
    assert_eq!(parse(b"tag x\0"), Err(NotACommand::Malformed));
    assert_eq!(parse(b"tag x\n\0"), Err(NotACommand::Malformed));
    assert_eq!(parse(b"\ntag x"), Err(NotACommand::Malformed));
    for text in [&b""[..], b" tag x", b"Tag x", b"tagx", b"nonsense", b"\xff"] {
        assert_eq!(parse(text), Err(NotACommand::Unknown));
    }
}

#[test]
fn copen_numbers_are_read_as_the_kernel_reads_them() {
    let size = |text: &[u8]| parse_copen(text).unwrap().size;
    assert_eq!(parse_copen(b"7,8").unwrap().id, 7);
    assert_eq!(parse_copen(b"+0x1F,8").unwrap().id, 31);
    assert_eq!(parse_copen(b"017,8").unwrap().id, 15);
    assert_eq!(size(b"0,-2"), Ok(-2));
    assert_eq!(size(b"0,-0x10"), Ok(-16));
    assert_eq!(size(b"0,9223372036854775807"), Ok(i64::MAX));
    assert_eq!(size(b"0,-9223372036854775808"), Ok(i64::MIN));
    assert_eq!(size(b"0,9223372036854775808"), Err(BadNumber::TooLarge));
    assert_eq!(size(b"0,"), Err(BadNumber::Malformed));
    assert_eq!(size(b"0,1,2"), Err(BadNumber::Malformed));
    assert_eq!(size(b"0,12 "), Err(BadNumber::Malformed));
    assert_eq!(size(b"0,0x"), Err(BadNumber::Malformed));
    for text in [&b""[..], b"7", b",8", b"x,8", b"-1,8", b"8 ,8"] {
        assert_eq!(parse_copen(text), Err(BadNumber::Malformed), "{text:?}");
    }
    assert_eq!(
        parse_copen(b"18446744073709551616,8"),
        Err(BadNumber::TooLarge)
    );
}

#[test]
fn debug_masks_may_be_in_any_base_or_missing() {
    for (text, mask) in [
        (&b""[..], 0),
        (b"7", 7),
        (b"0x1f", 31),
        (b"010", 8),
        (b"4294967297", 1),
    ] {
        assert_eq!(parse_debug_mask(text), Ok(mask));
    }
    for text in [&b"x"[..], b"-1", b"7 ", b"08"] {
        assert_eq!(parse_debug_mask(text), Err(BadNumber::Malformed));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
        let _ = parse_copen(&bytes);
        let _ = parse_debug_mask(&bytes);
    }

    #[test]
    fn any_id_and_size_are_read_back(id: u64, size: i64) {
        let copen = parse_copen(format!("{id},{size}").as_bytes()).unwrap();
        prop_assert_eq!((copen.id, copen.size), (id, Ok(size)));
    }
}
