// SPDX-License-Identifier: GPL-2.0
//! Compares Rust bindings with the BTF of the kernel that they are for; the report is TAP.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use cachefiles_layout::btf::Types;
use cachefiles_layout::{Record, Verdict, bindings, compare};
use clap::Parser;

/// Compares Rust bindings with the BTF of the kernel that they are for.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The kernel's section .BTF, as a file.
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,
    /// A module's section .BTF.
    #[arg(long, value_name = "FILE")]
    module: Vec<PathBuf>,
    /// What bindgen made, with its checks of layouts.
    #[arg(required = true)]
    bindings: Vec<PathBuf>,
}

/// What the module reaches into, or hands to the kernel: these have to be known to it.
const NEEDED: &[&str] = &[
    "address_space",
    "completion",
    "cred",
    "delayed_work",
    "dentry",
    "file",
    "file_operations",
    "fscache_cache",
    "fscache_cache_ops",
    "fscache_cookie",
    "fscache_volume",
    "iattr",
    "inode",
    "iov_iter",
    "kiocb",
    "kstatfs",
    "miscdevice",
    "module",
    "mutex",
    "netfs_cache_ops",
    "netfs_cache_resources",
    "netfs_io_request",
    "netfs_io_stream",
    "netfs_io_subrequest",
    "path",
    "seq_file",
    "seq_operations",
    "super_block",
    "task_struct",
    "vfsmount",
    "wait_queue_head",
    "work_struct",
    "xa_state",
    "xarray",
];

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let read = |path: &PathBuf| fs::read(path).with_context(|| format!("{}", path.display()));
    let mut types = Types::of_kernel(&read(&cli.kernel)?)?;
    let mut kernel = types.kernel_records();
    for module in &cli.module {
        for (name, records) in types.of_module(&read(module)?)? {
            kernel.entry(name).or_default().extend(records);
        }
    }
    let mut ours = BTreeMap::new();
    for path in &cli.bindings {
        ours.extend(bindings::records(&String::from_utf8(read(path)?)?));
    }
    Ok(ExitCode::from(u8::from(!report(&ours, &kernel))))
}

/// Prints what the comparison comes to. Is all as it should be?
fn report(ours: &BTreeMap<String, Record>, kernel: &BTreeMap<String, Vec<Record>>) -> bool {
    let verdict = |name: &str| {
        let record = ours.get(name)?;
        let known = kernel.get(name).map_or(&[][..], Vec::as_slice);
        Some(compare(record, known))
    };
    let mut good = true;
    let mut number = 0;
    let mut line = |right: bool, text: &str, details: &[String]| {
        number += 1;
        good &= right;
        println!("{}ok {number} - {text}", if right { "" } else { "not " });
        for detail in details {
            println!("# {detail}");
        }
    };
    println!("TAP version 14\n1..{}", NEEDED.len() + 1);
    for name in NEEDED {
        match verdict(name) {
            Some(Verdict::Same(offsets)) => {
                line(
                    offsets > 0,
                    &format!("{name}: size and {offsets} offsets"),
                    &[],
                );
            }
            Some(Verdict::Different(lines)) => line(false, name, &lines),
            Some(Verdict::Unknown) => line(false, name, &["the kernel has none".to_owned()]),
            None => line(false, name, &["the bindings have none".to_owned()]),
        }
    }
    let (mut sizes, mut offsets, mut wrong) = (0, 0, Vec::new());
    for name in ours.keys() {
        match verdict(name) {
            Some(Verdict::Same(count)) => {
                sizes += 1;
                offsets += count;
            }
            Some(Verdict::Different(lines)) => {
                wrong.extend(lines.iter().map(|line| format!("{name}: {line}")));
            }
            Some(Verdict::Unknown) | None => {}
        }
    }
    let text = format!("of all records, {sizes} sizes and {offsets} offsets are the same");
    // There are several members to a record, unless the checks are not read as they are meant.
    line(wrong.is_empty() && offsets > 2 * sizes, &text, &wrong);
    good
}
