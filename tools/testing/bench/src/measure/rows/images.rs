// SPDX-License-Identifier: GPL-2.0
//! Many small images: what mounting one of them costs, for the first time and again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use cachefiles_harness::image::{Builder, pattern};
use cachefiles_harness::{sys, task::soon};

use super::Bench;
use crate::crew::{Crew, Wait};
use crate::daemon::Daemon;

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let mut daemon = Daemon::new()?;
    let image = Builder::new()
        .plain("file", pattern(1, 5000))
        .build()
        .primary;
    let image = Arc::new(image);
    for count in bench.images.clone() {
        // Each number has its own, so that they are fresh.
        let mounts: Vec<(String, PathBuf)> = (0..count)
            .map(|number| {
                let fsid = format!("small-{count}-{number:04}");
                let path = Path::new("/mnt/small").join(&fsid);
                (fsid, path)
            })
            .collect();
        for (fsid, path) in &mounts {
            std::fs::create_dir_all(path)?;
            let key = fsid.clone().into_bytes();
            daemon.images.insert(key, Arc::clone(&image));
        }
        mount_all(bench, &mut daemon, &mounts)?;
    }
    Ok(())
}

fn mount_all(bench: &mut Bench, daemon: &mut Daemon, mounts: &[(String, PathBuf)]) -> Result<()> {
    for metric in ["mounting one, fresh", "mounting one, cached"] {
        let crew = Crew::start(daemon, 1, Wait::Exclusive)?;
        bench.meter.quiesce();
        let start = bench.begin();
        for (fsid, path) in mounts {
            sys::mount_erofs(path, format!("fsid={fsid}").as_bytes())
                .with_context(|| format!("{metric}: {fsid}"))?;
        }
        bench.end(start, "images", metric, Some(mounts.len()), mounts.len());
        for (_, path) in mounts {
            sys::unmount_patiently(path, soon())?;
        }
        sys::wait_for("cookies to go", soon(), || {
            sys::fscache_table("volumes").is_ok_and(|rows| rows.is_empty())
        })?;
        crew.stop(daemon)?;
    }
    Ok(())
}
