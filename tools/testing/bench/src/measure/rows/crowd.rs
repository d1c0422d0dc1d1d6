// SPDX-License-Identifier: GPL-2.0
//! Many readers at once by some threads of the daemon, counted: on the one processor of these rows
//! the figures repeat, and show what the threads cost each other by waking up, but not what they
//! contend for.

use anyhow::Result;

use super::Bench;
use crate::concurrent::{Crowd, READERS, SERVERS};

/// Requests for each number of readers: some for each of the 256.
const REQUESTS: usize = 2048;

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let mut crowd = Crowd::new()?;
    for servers in SERVERS {
        for readers in READERS {
            bench.meter.quiesce();
            let times = crowd.read(readers, servers, REQUESTS, Some(&bench.meter))?;
            let put = |what: &str, value: f64| {
                let metric = format!("{what}, {servers} threads");
                bench
                    .output
                    .instructions("crowd", &metric, Some(readers), value);
            };
            put(
                "request",
                times.instructions as f64 / times.each.len() as f64,
            );
            put("p50", times.percentile(50));
            put("p99", times.percentile(99));
        }
    }
    crowd.end()
}
