// SPDX-License-Identifier: GPL-2.0
//! The original mode with a client that writes, and a server that changes: what the client reads,
//! what the server has, and what the cache says at each moment.

use anyhow::Result;
use cachefiles_harness::context::Context;
use cachefiles_harness::image::pattern;

use super::netfs::read_once;
use crate::net::Net;
use crate::probe::{Probe, Rows, probe};
use crate::world::forget_volumes;

pub const PROBES: &[Probe] = &[
    probe!("netfs", writes),
    probe!("netfs", sizes_that_change),
    probe!("netfs", names_that_change),
    probe!("netfs", changes_on_the_server),
];

/// A whole number of pages: what is special of a last page that is none is seen where files are
/// read.
const SIZE: usize = 20_480;

/// A change that a client makes to a file, and what the file is afterwards.
struct Change {
    what: &'static str,
    make: fn(&Net) -> Result<()>,
    result: fn(Vec<u8>) -> Vec<u8>,
}

/// Makes each change to a file that is in the cache already, and to one that is not.
fn try_changes(net: &mut Net, rows: &mut Rows, changes: &[Change]) -> Result<()> {
    for change in changes {
        for cached in [true, false] {
            let name = format!(
                "{}.{}",
                change.what,
                if cached { "cached" } else { "not-cached" }
            );
            forget_volumes()?;
            net.serve("file", &pattern(1, SIZE))?;
            if cached {
                read_once(net, "file", &pattern(1, SIZE))?;
            }
            net.mount()?;
            (change.make)(net)?;
            let expected = (change.result)(pattern(1, SIZE));
            let seen = net.read("file")? == expected;
            net.unmount()?;
            let right = |right| if right { "right" } else { "wrong" };
            let served = net.served("file")? == expected;
            let text = format!("client {}, server {}", right(seen), right(served));
            rows.row(&name, "client right, server right", text)?;
            rows.as_c(format!("{name}.stored"), net.cached()?)?;
            let again = read_once(net, "file", &expected)?;
            rows.as_c(format!("{name}.read-again"), again)?;
        }
    }
    Ok(())
}

fn over(mut data: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    data.resize(data.len().max(at + with.len()), 0);
    data[at..at + with.len()].copy_from_slice(with);
    data
}

fn writes(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let changes = [
        Change {
            what: "write.inside-a-page",
            make: |net| {
                net.write_at("file", 100, &[7; 10])?;
                net.sync("file")
            },
            result: |data| over(data, 100, &[7; 10]),
        },
        Change {
            what: "write.over-pages",
            make: |net| {
                net.write_at("file", 4000, &[7; 5000])?;
                net.sync("file")
            },
            result: |data| over(data, 4000, &[7; 5000]),
        },
        Change {
            what: "write.whole-pages",
            make: |net| {
                net.write_at("file", 4096, &[7; 8192])?;
                net.sync("file")
            },
            result: |data| over(data, 4096, &[7; 8192]),
        },
        Change {
            what: "write.append",
            make: |net| {
                net.append("file", &[7; 4096])?;
                net.sync("file")
            },
            result: |data| over(data, SIZE, &[7; 4096]),
        },
        Change {
            what: "write.far-behind-the-end",
            make: |net| {
                net.write_at("file", 49_152, &[7; 4096])?;
                net.sync("file")
            },
            result: |data| over(data, 49_152, &[7; 4096]),
        },
        Change {
            what: "write.everything",
            make: |net| {
                net.create("file", &pattern(2, 8192))?;
                net.sync("file")
            },
            result: |_| pattern(2, 8192),
        },
    ];
    try_changes(&mut Net::usual(ctx)?, rows, &changes)
}

fn sizes_that_change(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let changes = [
        Change {
            what: "truncate.to-0",
            make: |net| net.truncate("file", 0),
            result: |_| Vec::new(),
        },
        Change {
            what: "truncate.inside-a-page",
            make: |net| net.truncate("file", 10_000),
            result: |data| data[..10_000].to_vec(),
        },
        Change {
            what: "truncate.to-a-page",
            make: |net| net.truncate("file", 8192),
            result: |data| data[..8192].to_vec(),
        },
        Change {
            what: "truncate.larger",
            make: |net| net.truncate("file", 32_768),
            result: |mut data| {
                data.resize(32_768, 0);
                data
            },
        },
        Change {
            what: "truncate.smaller-and-larger",
            make: |net| {
                net.read("file")?;
                net.truncate("file", 5000)?;
                net.truncate("file", 32_768)
            },
            result: |data| {
                let mut data = data[..5000].to_vec();
                data.resize(32_768, 0);
                data
            },
        },
    ];
    try_changes(&mut Net::usual(ctx)?, rows, &changes)
}

fn names_that_change(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let mut net = Net::usual(ctx)?;
    let data = pattern(1, SIZE);
    net.mount()?;
    net.create("file", &data)?;
    net.sync("file")?;
    net.unmount()?;
    rows.as_c("create.stored", net.cached()?)?;
    rows.as_c("create.read-again", read_once(&mut net, "file", &data)?)?;
    net.mount()?;
    std::fs::rename(net.file("file"), net.file("renamed"))?;
    let right = net.read("renamed")? == data;
    net.unmount()?;
    rows.row("rename", "true", right)?;
    rows.as_c("rename.stored", net.cached()?)?;
    rows.as_c("rename.read-again", read_once(&mut net, "renamed", &data)?)?;
    net.mount()?;
    net.read("renamed")?;
    net.remove("renamed")?;
    net.unmount()?;
    rows.as_c("remove.stored", net.cached()?)
}

fn changes_on_the_server(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let mut net = Net::usual(ctx)?;
    for (what, size) in [("same-size", SIZE), ("smaller", 8192), ("larger", 49_152)] {
        forget_volumes()?;
        net.serve("file", &pattern(1, SIZE))?;
        read_once(&mut net, "file", &pattern(1, SIZE))?;
        let data = pattern(2, size);
        net.serve("file", &data)?;
        let seen = read_once(&mut net, "file", &data)?;
        rows.row(
            format!("server.{what}"),
            "right data, from the server",
            seen,
        )?;
        rows.as_c(format!("server.{what}.stored"), net.cached()?)?;
        let again = read_once(&mut net, "file", &data)?;
        rows.row(
            format!("server.{what}.read-again"),
            "right data, from the cache",
            again,
        )?;
    }
    Ok(())
}
