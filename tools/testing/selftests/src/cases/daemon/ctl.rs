// SPDX-License-Identifier: GPL-2.0
//! The control tool, on the real device and with real mounts.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::super::restore::{finish, one_read_in_flight, two_blobs};
use super::program::{Daemon, check, ctl, ctl_as, put, unmount};
use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Module, Test, test};
use crate::session::Mount;
use crate::sys;
use crate::task::soon;

pub const TESTS: &[Test] = &[
    test!(
        daemon_ctl_doctor_knows_the_module_and_who_has_the_device,
        "an operator's first question: what is here, and whose is it"
    )
    .limit(60),
    test!(
        daemon_ctl_mounts_tells_culls_and_unmounts,
        "an operator sees what is cached and in use, by the kernel's own word"
    )
    .limit(90),
    test!(
        daemon_ctl_says_why_an_image_cannot_be_mounted,
        "an operator is told the way out, not an errno"
    )
    .limit(90),
    test!(
        daemon_ctl_restores_what_another_daemon_has_lost,
        "the tool works with daemons that know nothing of it"
    ),
];

const FSID: &str = "app";

/// A file that is read, and one that is not.
fn image() -> Image {
    Builder::new()
        .plain("read", pattern(1, 64 * BLOCK))
        .plain("left", pattern(2, 256 * BLOCK))
        .build()
}

fn started(ctx: &Context) -> Result<(Daemon, String)> {
    put(ctx, FSID, &image())?;
    let metrics = ctx.work.join("metrics");
    let metrics = metrics.to_str().context("a path that is no text")?;
    let daemon = Daemon::start(ctx, &["--metrics", metrics])?;
    Ok((daemon, metrics.to_owned()))
}

fn mounted(ctx: &Context) -> Result<Mount> {
    let target = ctx.mount_point(FSID);
    let path = target.to_str().context("a path that is no text")?;
    ctl(&["mount", "--mkdir", FSID, path])?;
    Ok(Mount::at(target))
}

fn daemon_ctl_doctor_knows_the_module_and_who_has_the_device(ctx: &Context) -> Result<()> {
    let (daemon, _) = started(ctx)?;
    let said = ctl(&["doctor", "--dir", sys::CACHE])?;
    let module = match ctx.module() {
        Module::Rust => "ok       cachefiles: runs; in Rust, with failover, version ",
        Module::C => "ok       cachefiles: runs; the C module",
    };
    let holder = format!("process {} (", daemon.supervisor().as_raw_nonzero());
    for wanted in [
        module,
        &holder,
        "ok       cachefilesd: not in the way",
        "ok       signed modules: not needed",
        "ok       cache directory: /cache, on ",
        "ok       free space: ",
    ] {
        ensure!(said.contains(wanted), "no {wanted:?} in: {said}");
    }
    let json = ctl(&["doctor", "--json"])?;
    ensure!(json.contains("\"ok\": true"), "it says: {json}");
    daemon.stop()
}

fn daemon_ctl_mounts_tells_culls_and_unmounts(ctx: &Context) -> Result<()> {
    let (daemon, metrics) = started(ctx)?;
    let status = |more: &[&str]| {
        let all = [
            &["status", "--dir", sys::CACHE, "--metrics", &*metrics],
            more,
        ]
        .concat();
        ctl(&all)
    };
    let line_of = |said: &str| {
        let mut lines = said.lines();
        lines
            .find(|line| line.ends_with("erofs,app  app"))
            .map(str::to_owned)
    };
    // The C module gives a file its name when it is put away for the first time.
    unmount(mounted(ctx)?)?;
    sys::wait_for("the file", soon(), || {
        status(&[]).is_ok_and(|said| line_of(&said).is_some_and(|it| it.starts_with("no ")))
    })?;
    let mount = mounted(ctx)?;
    check(&mount, "read", &image().files["read"])?;
    let said = status(&[])?;
    let line = line_of(&said).with_context(|| format!("it says: {said}"))?;
    ensure!(line.starts_with("yes ") && line.contains(" % "), "{said}");
    let place = mount.path().display().to_string();
    ensure!(said.contains(&format!("app: at {place}")), "{said}");
    ensure!(said.contains("no READ in flight; "), "{said}");
    let json = status(&["--json"])?;
    for wanted in [
        "\"in_use\": true",
        "\"complete\": false",
        "\"reads_in_flight\": 0",
    ] {
        ensure!(json.contains(wanted), "no {wanted} in: {json}");
    }

    // What is in use stays, and is served on.
    let busy = ctl(&["cull", "--dir", sys::CACHE, FSID]);
    ensure!(
        busy.as_ref()
            .is_err_and(|error| error.to_string().contains("in use")),
        "it says: {busy:?}"
    );
    check(&mount, "left", &image().files["left"])?;
    sys::wait_for("all of it", soon(), || {
        status(&[]).is_ok_and(|said| line_of(&said).is_some_and(|it| it.contains("  all  ")))
    })?;

    let file = fs::File::open(mount.file("read"))?;
    let busy = ctl(&["umount", FSID]).err().context("it was unmounted")?;
    let own = format!("in use by {} (", std::process::id());
    ensure!(busy.to_string().contains(&own), "{busy:#}");
    drop(file);
    ctl(&["umount", FSID])?;
    ensure!(sys::mounts(mount.path(), None)?.is_empty(), "it is mounted");
    // fscache lets go of it in the background.
    sys::wait_for("it to be idle", soon(), || {
        status(&[]).is_ok_and(|said| line_of(&said).is_some_and(|it| it.starts_with("no ")))
    })?;
    ctl(&["cull", "--dir", sys::CACHE, FSID])?;
    let said = status(&[])?;
    ensure!(line_of(&said).is_none(), "it is still there: {said}");
    // As mount(8) calls it for an entry of fstab.
    ctl_as(
        "mount.erofs-ondemand",
        &[FSID, &place, "-o", "ro,nosuid,noacl"],
    )?;
    let options = fs::read_to_string("/proc/mounts")?;
    let options = options.lines().find(|line| line.contains(&place));
    ensure!(
        options.is_some_and(|line| line.contains("nosuid") && line.contains("noacl")),
        "it is mounted so: {options:?}"
    );
    check(&mount, "read", &image().files["read"])?;
    unmount(mount)?;
    daemon.stop()
}

fn daemon_ctl_says_why_an_image_cannot_be_mounted(ctx: &Context) -> Result<()> {
    let target = ctx.work.join("other");
    fs::create_dir_all(&target)?;
    let target = target.to_str().context("a path that is no text")?;
    let refused = |name: &str, wanted: &str| -> Result<()> {
        let said = ctl(&["mount", name, target])
            .err()
            .context("it was mounted")?;
        ensure!(
            said.to_string().contains(wanted),
            "no {wanted:?} in: {said:#}"
        );
        Ok(())
    };
    refused(FSID, "no daemon has the device")?;
    let (daemon, _) = started(ctx)?;
    refused("absent", "it has no blob of that name")?;
    let mount = mounted(ctx)?;
    refused(FSID, "it is mounted already, at ")?;
    unmount(mount)?;
    // The same size: only the content tells.
    let other = Builder::new()
        .plain("read", pattern(7, 64 * BLOCK))
        .plain("left", pattern(8, 256 * BLOCK))
        .build();
    put(ctx, FSID, &other)?;
    refused(FSID, "cachefilesctl invalidate app")?;
    ctl(&["invalidate", "--dir", sys::CACHE, FSID])?;
    let mount = mounted(ctx)?;
    check(&mount, "read", &other.files["read"])?;
    unmount(mount)?;
    daemon.stop()
}

fn daemon_ctl_restores_what_another_daemon_has_lost(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = one_read_in_flight(ctx, &image)?;
    let before = session.held[0];
    // The fds stay open, so that nothing comes back by itself.
    session.held.clear();
    ctl(&["restore"])?;
    session.pump_until("the READ again", |session| !session.held.is_empty())?;
    ensure!(
        session.held[0] == before,
        "the READ became {:?}",
        session.held[0]
    );
    session.answer_held_backwards()?;
    finish(session, mount, &image, reader)
}
