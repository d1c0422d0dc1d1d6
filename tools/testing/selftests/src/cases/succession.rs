// SPDX-License-Identifier: GPL-2.0
//! A volume that follows one of the same name while that is still on its way out.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::session::Session;
use crate::share::Counters;
use crate::sys;
use crate::task::soon;

pub const TESTS: &[Test] = &[
    test!(
        volume_waits_for_the_one_of_its_name_to_go_and_no_longer,
        "CVE-2023-52982: the wait for a volume on its way out ends when that is gone"
    )
    .limit(60),
    test!(
        volumes_of_one_name_follow_each_other_without_a_pause,
        "CVE-2023-52982: the wait for a volume on its way out ends when that is gone"
    )
    .limit(60),
];

const FSID: &str = "heir";

/// After this time fscache complains, and goes on waiting.
const COMPLAINT: Duration = Duration::from_secs(20);

fn image() -> Image {
    Builder::new()
        .device("blob")
        .chunked("file", pattern(1, 4 * BLOCK), 4, &[Some(1)])
        .build()
}

fn options() -> String {
    format!("fsid={FSID}")
}

fn used(ctx: &Context) -> Result<Session> {
    let mut session = ctx.session(FSID, &image())?;
    let mount = session.mount(&ctx.mount_point(FSID), options())?;
    session.check_files(&mount, &image())?;
    // Nobody reads the CLOSEs yet, so objects and volume stay.
    mount.unmount().finish()??;
    ensure!(
        session.device.wait_readable(Some(soon()))?,
        "no CLOSE is sent"
    );
    Ok(session)
}

fn volume_waits_for_the_one_of_its_name_to_go_and_no_longer(ctx: &Context) -> Result<()> {
    let mut session = used(ctx)?;
    let before = Counters::now()?;
    let second = session.mount_in_background(&ctx.mount_point(FSID), options())?;
    sys::wait_for("the second mount to wait", soon(), || second.sleeps())?;
    let volumes = sys::fscache_table("volumes")?;
    ensure!(volumes.len() == 2, "volumes: {volumes:?}");
    ensure!(session.log.closes.is_empty() && !second.is_done());
    let opens = session.log.opens.len();
    let start = Instant::now();
    session.pump_until("an OPEN of the second volume", |session| {
        session.log.opens.len() > opens
    })?;
    let waited = start.elapsed();
    session.pump_until("the second mount", |_| second.is_done())?;
    let mount = second.finish()?.context("the second mount")?;
    session.check_files(&mount, &image())?;
    session.unmount(mount)?;
    session.settle()?;
    ensure!(
        waited < COMPLAINT / 2,
        "it took {waited:?} once nothing was in the way"
    );
    let moved = Counters::now()?.since(&before).get("Cookies.vcol")?;
    ensure!(moved == 0, "fscache complained of a collision");
    Ok(())
}

fn volumes_of_one_name_follow_each_other_without_a_pause(ctx: &Context) -> Result<()> {
    let mut session = used(ctx)?;
    let before = Counters::now()?;
    for round in 0..10 {
        let mount = session
            .mount(&ctx.mount_point(FSID), options())
            .with_context(|| format!("round {round}"))?;
        session.check_files(&mount, &image())?;
        session.unmount(mount)?;
    }
    session.settle()?;
    let moved = Counters::now()?.since(&before).get("Cookies.vcol")?;
    ensure!(moved == 0, "fscache complained of a collision");
    Ok(())
}
