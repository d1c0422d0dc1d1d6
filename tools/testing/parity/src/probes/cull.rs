// SPDX-License-Identifier: GPL-2.0
//! `cull` and `inuse`, in both modes: names, the working directory, what is in use, the graveyard.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context as _, Result};
use cachefiles_harness::context::Context;
use cachefiles_harness::share::Counters;
use cachefiles_harness::{sys, task};
use cachefiles_protocol::Device;
use rustix::mount::{MountFlags, mount};

use crate::observe::{command, each};
use crate::probe::{Probe, Rows, probe};
use crate::world::{
    FSID, MODES, blob_path, bound, fresh_dir, image, injecting, kill, mounted, unmount, within,
};

pub const PROBES: &[Probe] = &[
    probe!("cull", names_and_states),
    probe!("cull", victims),
    probe!("cull", objects),
    probe!("cull", outside_of_the_cache),
    probe!("cull", failing_removals),
];

const VERBS: [&str; 2] = ["cull", "inuse"];

fn at(device: &Device, dir: &Path, text: &str) -> Result<String> {
    within(dir, || command(device, text))
}

fn names_and_states(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for verb in VERBS {
        let device = ctx.device()?;
        rows.row(
            format!("{verb}.EIO.not-bound"),
            "EIO",
            command(&device, &format!("{verb} name")),
        )?;
        rows.row(
            format!("{verb}.EINVAL.not-bound.empty"),
            "EINVAL",
            command(&device, verb),
        )?;
        let slashes = ["a/b", "/a", "../a", "a/"];
        let results =
            slashes.map(|name| (name.to_owned(), command(&device, &format!("{verb} {name}"))));
        rows.row(format!("{verb}.EINVAL.slash"), "EINVAL", each(results))?;
        drop(device);
        for (mode, bind) in MODES {
            let store = Path::new(sys::CACHE).join("cache");
            let device = bound(ctx, bind)?;
            let name = |what: &str| format!("{verb}.{what}.{mode}");
            rows.row(name("EINVAL.empty"), "EINVAL", at(&device, &store, verb)?)?;
            rows.row(
                name("EINVAL.bound.slash"),
                "EINVAL",
                at(&device, &store, &format!("{verb} a/b"))?,
            )?;
            rows.as_c(
                name("missing"),
                at(&device, &store, &format!("{verb} missing"))?,
            )?;
            for (what, text) in [("dot", "."), ("dot-dot", "..")] {
                rows.as_c(name(what), at(&device, &store, &format!("{verb} {text}"))?)?;
            }
            let long = "n".repeat(300);
            rows.as_c(
                name("ENAMETOOLONG"),
                at(&device, &store, &format!("{verb} {long}"))?,
            )?;
            // A working directory that is gone.
            let gone = fresh_dir(store.join("gone"))?;
            let seen = within(&gone, || {
                fs::remove_dir(&gone).map(|()| command(&device, &format!("{verb} name")))
            })??;
            rows.row(name("ESTALE.directory-gone"), "ESTALE", seen)?;
            let alive = command(&device, "debug 0");
            rows.row(name("cache-lives-on"), "ok", alive)?;
            kill(&device)?;
            rows.row(
                name("EIO.dead"),
                "EIO",
                at(&device, &store, &format!("{verb} name"))?,
            )?;
        }
    }
    Ok(())
}

/// What a directory holds, names of graves in a normal form.
fn listing(dir: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_grave = name.len() == 16
            && name
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let kind = if entry.file_type()?.is_dir() { "/" } else { "" };
        if is_grave {
            let (time, number) = name.split_at(8);
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)?
                .as_secs();
            let age = now.abs_diff(u64::from_str_radix(time, 16)?);
            let time = if age < 60 { "now" } else { time };
            names.push(format!("{time}+{number}{kind}"));
        } else {
            names.push(format!("{name}{kind}"));
        }
    }
    names.sort();
    Ok(if names.is_empty() {
        "nothing".into()
    } else {
        names.join(" ")
    })
}

/// Files and directories that no client knows.
fn victims(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for (mode, bind) in MODES {
        let store = Path::new(sys::CACHE).join("cache");
        let graveyard = Path::new(sys::CACHE).join("graveyard");
        let device = bound(ctx, bind)?;
        let dir = fresh_dir(store.join(format!("dir-{mode}")))?;
        for name in ["one", "two", "many words"] {
            fs::write(dir.join(name), name)?;
        }
        fs::set_permissions(dir.join("two"), fs::Permissions::from_mode(0o400))?;
        fresh_dir(dir.join("sub/below"))?;
        fs::hard_link(dir.join("one"), dir.join("linked"))?;
        std::os::unix::fs::symlink("one", dir.join("symbolic"))?;
        let before = Counters::now()?;
        let name = |what: &str| format!("{what}.{mode}");
        rows.row(
            name("inuse.idle-file"),
            "ok",
            at(&device, &dir, "inuse two")?,
        )?;
        rows.row(
            name("inuse.idle-directory"),
            "ok",
            at(&device, &dir, "inuse sub")?,
        )?;
        rows.row(name("cull.file"), "ok", at(&device, &dir, "cull two")?)?;
        rows.as_c(name("cull.file.again"), at(&device, &dir, "cull two")?)?;
        rows.row(
            name("cull.name-with-blank"),
            "ok",
            at(&device, &dir, "cull many words")?,
        )?;
        rows.row(
            name("cull.symlink"),
            "ok",
            at(&device, &dir, "cull symbolic")?,
        )?;
        rows.row(
            name("cull.linked-file"),
            "ok",
            at(&device, &dir, "cull linked")?,
        )?;
        rows.as_c(
            name("cull.linked-file.other-name"),
            at(&device, &dir, "cull one")?,
        )?;
        rows.row(name("cull.directory"), "ok", at(&device, &dir, "cull sub")?)?;
        rows.as_c(name("left"), listing(&dir)?)?;
        rows.row(name("graveyard"), "now+00000001/", listing(&graveyard)?)?;
        fresh_dir(dir.join("another"))?;
        rows.row(
            name("cull.second-directory"),
            "ok",
            at(&device, &dir, "cull another")?,
        )?;
        rows.row(
            name("graveyard.second"),
            "now+00000001/ now+00000002/",
            listing(&graveyard)?,
        )?;
        let culled = Counters::now()?.since(&before).culled()?;
        rows.row(name("counter"), "6", culled)?;
        for name in ["cache", "graveyard"] {
            let seen =
                VERBS.map(|verb| at(&device, Path::new(sys::CACHE), &format!("{verb} {name}")));
            let seen: Vec<String> = seen.into_iter().collect::<Result<_>>()?;
            rows.row(
                format!("EBUSY.own-directory.{name}.{mode}"),
                "EBUSY, EBUSY",
                seen.join(", "),
            )?;
        }
        drop(device);
        sys::empty_cache()?;
    }
    Ok(())
}

/// The files and directories of a client, in use and not.
fn objects(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    session.check_files(&mount, &image())?;
    unmount(&mut session, mount)?;
    let path = blob_path();
    let (fan, name) = (
        path.parent().context("no parent")?,
        path.file_name().context("no name")?,
    );
    let name = name.to_string_lossy();
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    for verb in VERBS {
        let text = format!("{verb} {name}");
        rows.row(
            format!("EBUSY.file.{verb}"),
            "EBUSY",
            at(&session.device, fan, &text)?,
        )?;
    }
    for (what, dir) in [
        ("fan-out", fan),
        ("volume", fan.parent().context("no parent")?),
    ] {
        let name = dir.file_name().context("no name")?.to_string_lossy();
        for verb in VERBS {
            let parent = dir.parent().context("no parent")?;
            let seen = at(&session.device, parent, &format!("{verb} {name}"))?;
            rows.row(format!("EBUSY.{what}.{verb}"), "EBUSY", seen)?;
        }
    }
    session.check_files(&mount, &image())?;
    unmount(&mut session, mount)?;
    rows.row(
        "idle.file.inuse",
        "ok",
        at(&session.device, fan, &format!("inuse {name}"))?,
    )?;
    rows.row(
        "idle.file.cull",
        "ok",
        at(&session.device, fan, &format!("cull {name}"))?,
    )?;
    rows.row("idle.file.gone", "false", path.exists())?;
    session.log = Default::default();
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.check_files(&mount, &image())?;
    let (blob, _) = session.object_of(b"blob")?;
    let fetched = session.log.reads.iter().any(|read| read.object_id == blob);
    rows.row("idle.file.fetched-again", "true", fetched)?;
    unmount(&mut session, mount)?;
    rows.row("idle.file.stored-again", "true", path.exists())?;
    let volume = fan.parent().context("no parent")?;
    let name = volume.file_name().context("no name")?.to_string_lossy();
    let store = volume.parent().context("no parent")?;
    rows.row(
        "idle.volume.cull",
        "ok",
        at(&session.device, store, &format!("cull {name}"))?,
    )?;
    rows.row("idle.volume.gone", "false", volume.exists())?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.check_files(&mount, &image())?;
    unmount(&mut session, mount)?;
    rows.row("idle.volume.stored-again", "true", volume.exists())
}

/// The working directory may be any.
fn outside_of_the_cache(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let tmpfs = fresh_dir(ctx.mount_point("tmpfs"))?;
    mount("none", &tmpfs, c"tmpfs", MountFlags::empty(), None)?;
    for (mode, bind) in MODES {
        let beside = fresh_dir(Path::new(sys::CACHE).join(format!("beside-{mode}")))?;
        for (what, dir) in [("beside", beside.as_path()), ("other-file-system", &tmpfs)] {
            let device = bound(ctx, bind)?;
            fs::write(dir.join("file"), "x")?;
            fresh_dir(dir.join("dir"))?;
            for name in ["file", "dir"] {
                let inuse = at(&device, dir, &format!("inuse {name}"))?;
                let cull = at(&device, dir, &format!("cull {name}"))?;
                let left = if dir.join(name).exists() {
                    "left"
                } else {
                    "gone"
                };
                let alive = command(&device, "debug 0");
                let seen = format!("inuse {inuse}, cull {cull}, {left}, then {alive}");
                rows.as_c(format!("outside.{what}.{name}.{mode}"), seen)?;
            }
        }
    }
    sys::unmount_patiently(&tmpfs, task::soon())
}

/// The disk refuses to remove; the mount of something else is in the way.
fn failing_removals(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for (mode, bind) in MODES {
        for (what, is_dir) in [("file", false), ("directory", true)] {
            let device = bound(ctx, bind)?;
            let store = Path::new(sys::CACHE).join("cache");
            let victim = store.join(format!("victim-{what}-{mode}"));
            if is_dir {
                fresh_dir(&victim)?;
            } else {
                fs::write(&victim, "x")?;
            }
            let name = victim
                .file_name()
                .context("no name")?
                .to_string_lossy()
                .into_owned();
            let seen = injecting("2", || at(&device, &store, &format!("cull {name}")))??;
            let left = if victim.exists() { "left" } else { "gone" };
            let dead = command(&device, "debug 0");
            rows.as_c(
                format!("injected-EIO.{what}.{mode}"),
                format!("{seen}, {left}, then {dead}"),
            )?;
            drop(device);
            let device = bound(ctx, bind)?;
            let again = at(&device, &store, &format!("inuse {name}"))?;
            rows.as_c(
                format!("injected-EIO.{what}.inuse-afterwards.{mode}"),
                again,
            )?;
        }
    }
    Ok(())
}
