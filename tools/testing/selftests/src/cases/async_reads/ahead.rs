// SPDX-License-Identifier: GPL-2.0
//! Files that are read ahead, and a daemon that holds what is asked for.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::fs::{Advice, fadvise};

use crate::cases::gates::set;
use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::session::{Mount, Session};
use crate::task::Task;

pub(in crate::cases) const FSID: &str = "async";
/// What the kernel reads ahead, in bytes.
pub(in crate::cases) const WINDOW: usize = 128 << 10;

pub(in crate::cases) fn switch_on() -> Result<()> {
    set("async_reads", "1")
}

/// A plain file of so many windows on a blob of its own.
pub(in crate::cases) fn plain(windows: usize) -> Image {
    Builder::new()
        .device("blob")
        .chunked(
            "file",
            pattern(1, windows * WINDOW),
            WINDOW / BLOCK,
            &[Some(1)],
        )
        .build()
}

/// A mount of which the metadata is there, and whose READs of data are held.
pub(in crate::cases) fn holding(ctx: &Context, image: &Image) -> Result<(Session, Mount)> {
    let mut session = ctx.session(FSID, image)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.look_up(&mount.file("file"))?;
    session.hold_data(FSID, image);
    Ok((session, mount))
}

/// Asks for the whole file, window by window.
pub(in crate::cases) fn want(path: &Path) -> Task<Result<()>> {
    let path = path.to_owned();
    Task::start("fadvise", move || {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        for at in (0..size).step_by(WINDOW) {
            fadvise(
                &file,
                at,
                std::num::NonZero::new(WINDOW as u64),
                Advice::WillNeed,
            )?;
        }
        Ok(())
    })
}

/// Reads the file in pieces of 64 KiB. Returns how many READs there were at a time at most.
pub(in crate::cases) fn most_in_flight(
    session: &mut Session,
    mount: &Mount,
    data: &[u8],
) -> Result<usize> {
    let path = mount.file("file");
    let reader = Task::start("reading", move || -> Result<Vec<u8>> {
        let (mut file, mut all) = (File::open(path)?, Vec::new());
        let mut piece = vec![0; 64 << 10];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(all),
                len => all.extend_from_slice(&piece[..len]),
            }
        }
    });
    let mut most = 0;
    while !reader.is_done() {
        let patience = Instant::now() + Duration::from_millis(400);
        session.pump_until("READs, or the end", |session| {
            reader.is_done() || session.held.len() > 1 || Instant::now() >= patience
        })?;
        most = most.max(session.held.len());
        if !session.held.is_empty() {
            let read = session.held.remove(0);
            session.answer_read(&read)?;
        }
    }
    ensure!(reader.finish()?? == data, "wrong content");
    Ok(most)
}

pub(in crate::cases) fn end(mut session: Session, mount: Mount, image: &Image) -> Result<()> {
    session.hold_reads = None;
    session.check_files(&mount, image)?;
    session.unmount(mount)?;
    session.settle()
}
