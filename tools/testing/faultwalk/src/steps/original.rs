// SPDX-License-Identifier: GPL-2.0
//! The original mode, below 9p. Whatever fails in the cache, who reads and writes must not see it:
//! the server has the data.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_harness::context::Context;
use cachefiles_harness::image::{BLOCK, pattern};
use cachefiles_harness::registry::Skip;
use cachefiles_harness::share::{self, NetMount};
use cachefiles_harness::sys;
use cachefiles_harness::task::{Task, soon};
use cachefiles_protocol::{Device, Errno};

use super::{EVERYWHERE, Step, device::bound, outcome, step};
use crate::daemon::looked_up;
use crate::inject::Fault;
use crate::walk::{Below, Walk};

pub const STEPS: &[Step] = &[
    step!(first_read_over_9p, EVERYWHERE),
    step!(second_read_over_9p, EVERYWHERE),
    step!(write_over_9p, EVERYWHERE),
    step!(truncation_over_9p, EVERYWHERE),
    step!(change_on_the_server, EVERYWHERE),
    step!(unmount_of_9p, EVERYWHERE),
    step!(close_device_under_9p, EVERYWHERE),
];

const CLIENT: &str = "cache=fscache,msize=262144,cachetag=walk";
const FILE: &str = "file";

/// What is served.
fn data() -> Vec<u8> {
    pattern(3, 9 * BLOCK)
}

/// A cache, a server with one file, and a client.
struct Net {
    device: Option<Device>,
    server: NetMount,
    client: NetMount,
}

impl Net {
    /// On an empty disk, or on what an earlier one left.
    fn new(ctx: &Context, empty: bool) -> Result<Self> {
        if empty {
            sys::empty_cache()?;
        }
        let server = NetMount::share(share::SERVER, &ctx.mount_point("server"), share::UNCACHED)
            .map_err(|error| match error.downcast_ref::<Errno>() {
                Some(&Errno::NOENT) => Skip(format!("no shared directory: {error:#}")).into(),
                _ => error,
            })?;
        serve(&server, &data(), 1)?;
        let device = Some(bound(ctx)?);
        let client = NetMount::share(share::SHARE, &ctx.mount_point("client"), CLIENT)?;
        Ok(Self {
            device,
            server,
            client,
        })
    }

    fn path(&self) -> PathBuf {
        self.client.join(FILE)
    }

    /// Does something in a thread under failure, up to where nothing more comes of it.
    fn during<T: Send + 'static>(
        &self,
        fault: &Fault,
        call: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let fault = fault.clone();
        let in_thread = fault.clone();
        let result = fault.around(move || -> Result<std::io::Result<T>> {
            let task = Task::start("a call over 9p", move || in_thread.in_thread(call));
            let result = task.finish()??;
            settle()?;
            Ok(result)
        })??;
        result.context("what the cache fails at is seen by its user")
    }

    /// That the client reads what the server has.
    fn check(&self, expected: &[u8]) -> Result<()> {
        fs::write("/proc/sys/vm/drop_caches", "1")?;
        let path = self.path();
        let task = Task::start("reading over 9p", move || fs::read(path));
        let seen = task.finish()?.context("reading over 9p")?;
        same(&seen, expected).context("what the client reads")?;
        let served = fs::read(self.server.join(FILE))?;
        same(&served, expected).context("what the server has")
    }

    /// Takes everything down. The next client finds what there is in the cache, and it is right.
    fn end(self, ctx: &Context, expected: &[u8]) -> Result<()> {
        let Self {
            device,
            server,
            client,
        } = self;
        client.unmount()?;
        share::wait_for_no_cookies()?;
        drop((device, server));
        let server = NetMount::share(share::SERVER, &ctx.mount_point("server"), share::UNCACHED)?;
        let device = Some(bound(ctx).context("binding again")?);
        let client = NetMount::share(share::SHARE, &ctx.mount_point("client"), CLIENT)?;
        let net = Self {
            device,
            server,
            client,
        };
        net.check(expected)?;
        net.check(expected)?;
        net.client.unmount()?;
        share::wait_for_no_cookies()
    }
}

/// That two contents are the same.
fn same(seen: &[u8], expected: &[u8]) -> Result<()> {
    let at = seen.iter().zip(expected).position(|(a, b)| a != b);
    ensure!(
        at.is_none() && seen.len() == expected.len(),
        "{} bytes, not {}; the first difference is at {at:?}",
        seen.len(),
        expected.len()
    );
    Ok(())
}

/// Puts the file on the server. The version that the client sees is made of time and size.
fn serve(server: &NetMount, data: &[u8], version: u64) -> Result<()> {
    let path = server.join(FILE);
    fs::write(&path, data).with_context(|| format!("serving {}", path.display()))?;
    let file = File::options().write(true).open(&path)?;
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000 + version))?;
    Ok(())
}

/// Waits until the cache is done with what it was given: its workers write behind the reader's
/// back. What failed is among what ended.
fn settle() -> Result<()> {
    let counts = || -> Result<Vec<i64>> {
        let counters = share::Counters::now()?;
        ["CaWrOps.WR", "CaWrOps.ws", "CaRdOps.RD", "CaRdOps.rs"]
            .iter()
            .map(|name| counters.get(name))
            .collect()
    };
    let end = std::time::Instant::now() + soon();
    loop {
        let before = counts()?;
        std::thread::sleep(Duration::from_millis(30));
        let [writes, written, reads, read] = counts()?[..] else {
            bail!("four counters");
        };
        let idle = looked_up()? && writes == written && reads == read;
        if idle && before == [writes, written, reads, read] {
            return Ok(());
        }
        ensure!(
            std::time::Instant::now() < end,
            "hangs: the cache is not done after {:?}",
            soon()
        );
    }
}

fn first_read_over_9p(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let net = Net::new(walk.ctx, true)?;
        let path = net.path();
        let seen = net.during(fault, move || fs::read(path))?;
        same(&seen, &data())?;
        net.check(&data())?;
        net.end(walk.ctx, &data())?;
        Ok("ok".into())
    })
}

fn second_read_over_9p(walk: &mut Walk<'_>) -> Result<()> {
    let net = Net::new(walk.ctx, true)?;
    net.check(&data())?;
    net.end(walk.ctx, &data())?;
    walk.each(Below::Module, |walk, fault| {
        let net = Net::new(walk.ctx, false)?;
        let path = net.path();
        let seen = net.during(fault, move || fs::read(path))?;
        same(&seen, &data())?;
        net.check(&data())?;
        net.end(walk.ctx, &data())?;
        Ok("ok".into())
    })
}

fn write_over_9p(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let net = Net::new(walk.ctx, true)?;
        net.check(&data())?;
        let path = net.path();
        let mut expected = data();
        let part = pattern(7, 3 * BLOCK);
        expected[2 * BLOCK..5 * BLOCK].copy_from_slice(&part);
        net.during(fault, move || {
            let file = File::options().read(true).write(true).open(path)?;
            file.write_all_at(&part, 2 * BLOCK as u64)?;
            file.sync_all()
        })?;
        net.check(&expected)?;
        net.end(walk.ctx, &expected)?;
        Ok("ok".into())
    })
}

fn truncation_over_9p(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let net = Net::new(walk.ctx, true)?;
        net.check(&data())?;
        let path = net.path();
        let mut expected = data();
        expected.truncate(3 * BLOCK + 100);
        let added = pattern(8, 2 * BLOCK);
        expected.extend_from_slice(&added);
        net.during(fault, move || {
            let file = File::options().read(true).write(true).open(path)?;
            file.set_len(3 * BLOCK as u64 + 100)?;
            file.write_all_at(&added, 3 * BLOCK as u64 + 100)?;
            file.sync_all()
        })?;
        net.check(&expected)?;
        net.end(walk.ctx, &expected)?;
        Ok("ok".into())
    })
}

fn change_on_the_server(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let net = Net::new(walk.ctx, true)?;
        net.check(&data())?;
        let changed = pattern(9, 9 * BLOCK);
        serve(&net.server, &changed, 2)?;
        let path = net.path();
        let seen = net.during(fault, move || fs::read(path))?;
        ensure!(
            seen == changed || seen == data(),
            "it reads what was never there"
        );
        net.end(walk.ctx, &changed)?;
        Ok("ok".into())
    })
}

fn unmount_of_9p(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let net = Net::new(walk.ctx, true)?;
        net.check(&data())?;
        let Net {
            device,
            server,
            client,
        } = net;
        let in_thread = fault.clone();
        fault.around(move || {
            let task = Task::start("unmounting 9p", move || {
                in_thread.in_thread(|| client.unmount())
            });
            task.finish()???;
            share::wait_for_no_cookies()
        })??;
        drop((device, server));
        Net::new(walk.ctx, false)?.end(walk.ctx, &data())?;
        Ok("ok".into())
    })
}

fn close_device_under_9p(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let mut net = Net::new(walk.ctx, true)?;
        net.check(&data())?;
        let device = net.device.take();
        fault.hit(move || drop(device))?;
        net.check(&data())?;
        net.end(walk.ctx, &data())?;
        Ok(outcome::<()>(&Ok(())))
    })
}
