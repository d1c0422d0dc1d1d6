// SPDX-License-Identifier: GPL-2.0
//! Mounting an image by its name, with errors that say what to do.
//!
//! By the calls that take one option at a time, as they tell which of them was wrong, and what the
//! file system has to say.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use cachefiles_daemon::borrow;
use clap::Args;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::images::{self, Image};

/// Options of `mount`.
#[derive(Debug, Default, Args)]
pub struct MountArgs {
    /// Domain in which images share their devices
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// A device of the image, by the name of its blob; once for each, in their order
    #[arg(long, value_name = "KEY")]
    device: Vec<String>,
    /// Options of EROFS, and nosuid, nodev, noexec and the like, as mount(8) takes them after -o
    #[arg(short = 'o', long, value_name = "OPTION", value_delimiter = ',')]
    options: Vec<String>,
    /// Make the directory, if it is not there
    #[arg(long)]
    mkdir: bool,
    /// The image: its fsid, under which the daemon has its first blob
    #[arg(value_name = "NAME")]
    name: String,
    /// Where to mount it
    #[arg(value_name = "DIR")]
    target: PathBuf,
}

/// Mounts it.
pub fn run(args: &MountArgs) -> Result<()> {
    if args.mkdir {
        let made = fs::create_dir_all(&args.target);
        made.with_context(|| format!("cannot make {}", args.target.display()))?;
    }
    ensure!(
        args.target.is_dir(),
        "{} is no directory (--mkdir makes one)",
        args.target.display()
    );
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| match errno {
        Errno::NODEV => anyhow!("this kernel has no EROFS: see `cachefilesctl doctor`"),
        Errno::PERM => anyhow!("only root (CAP_SYS_ADMIN) may mount"),
        errno => anyhow!(errno).context("preparing an EROFS"),
    })?;
    for (name, value) in options(args) {
        set(&context, &name, value.as_deref())?;
    }
    fsconfig_create(&context).map_err(|errno| refused(args, &context, errno))?;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes(args))
        .context("making a mount of it")?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&mount, "", CWD, &args.target, flags)
        .with_context(|| format!("mounting it at {}", args.target.display()))
}

/// Options that are of the mount, and not of the file system.
const ATTRIBUTES: [(&str, MountAttrFlags); 5] = [
    ("nosuid", MountAttrFlags::MOUNT_ATTR_NOSUID),
    ("nodev", MountAttrFlags::MOUNT_ATTR_NODEV),
    ("noexec", MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ("noatime", MountAttrFlags::MOUNT_ATTR_NOATIME),
    ("nodiratime", MountAttrFlags::MOUNT_ATTR_NODIRATIME),
];

/// Options for other programs, or that say what is so anyway.
const NO_OPTIONS: [&str; 17] = [
    "", "defaults", "ro", "rw", "suid", "dev", "exec", "atime", "diratime", "relatime", "auto",
    "noauto", "nofail", "_netdev", "user", "nouser", "owner",
];

fn attributes(args: &MountArgs) -> MountAttrFlags {
    let given = |option: &&(&str, MountAttrFlags)| args.options.iter().any(|it| it == option.0);
    ATTRIBUTES
        .iter()
        .filter(given)
        .fold(MountAttrFlags::MOUNT_ATTR_RDONLY, |all, (_, flag)| {
            all | *flag
        })
}

/// Whether it is for the file system.
fn is_of_erofs(option: &&String) -> bool {
    !NO_OPTIONS.contains(&option.as_str())
        && !ATTRIBUTES.iter().any(|(name, _)| name == option)
        && !option.to_ascii_lowercase().starts_with("x-")
        && !option.starts_with("comment=")
}

/// The arguments of mount(8)'s helper `mount.erofs-ondemand`: `NAME DIR [-sfnv] [-o OPTIONS]`. None
/// where nothing is to be mounted (`-f`).
pub fn of_helper(arguments: &[String]) -> Result<Option<MountArgs>> {
    let mut args = MountArgs::default();
    let (mut places, mut is_fake) = (Vec::new(), false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-o" => {
                let options = rest.next().context("-o without options")?;
                args.options.extend(options.split(',').map(str::to_owned));
            }
            "-t" => drop(rest.next()),
            "-N" => bail!("other mount namespaces are not supported"),
            flags if flags.starts_with('-') => is_fake |= flags.contains('f'),
            _ => places.push(argument.clone()),
        }
    }
    let [name, target] = <[String; 2]>::try_from(places)
        .map_err(|_| anyhow!("usage: mount.erofs-ondemand NAME DIR [-o OPTIONS]"))?;
    (args.name, args.target) = (name, target.into());
    Ok((!is_fake).then_some(args))
}

/// The options of the file system, in their order.
fn options(args: &MountArgs) -> Vec<(String, Option<String>)> {
    let pair = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let mut all = vec![
        pair("source", "none"),
        ("ro".to_owned(), None),
        pair("fsid", &args.name),
    ];
    all.extend(args.domain.iter().map(|domain| pair("domain_id", domain)));
    all.extend(args.device.iter().map(|device| pair("device", device)));
    let others = args.options.iter().filter(is_of_erofs);
    all.extend(others.map(|option| match option.split_once('=') {
        Some((name, value)) => pair(name, value),
        None => (option.clone(), None),
    }));
    all
}

fn set(context: &OwnedFd, name: &str, value: Option<&str>) -> Result<()> {
    let done = match value {
        Some(value) => fsconfig_set_string(context, name, value),
        None => fsconfig_set_flag(context, name),
    };
    let said = messages(context);
    // The fsid is taken and ignored where EROFS has no on-demand mode.
    if let Some(said) = said.iter().find(|it| it.contains("option not supported")) {
        bail!("this kernel's EROFS has no on-demand mode ({said}): see `cachefilesctl doctor`");
    }
    let said = said.join("; ");
    done.with_context(|| format!("EROFS refuses the option {name} {said}"))
}

/// What the file system has said since it was asked last, a line each.
fn messages(context: &OwnedFd) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = [0; 1024];
    while let Ok(length) = rustix::io::read(context, &mut line) {
        let Some(said) = line.get(..length).filter(|said| !said.is_empty()) else {
            break;
        };
        let said = String::from_utf8_lossy(said);
        // `e ` is an error, `w ` a warning.
        lines.push(said.trim_end().chars().skip(2).collect());
    }
    lines
}

fn refused(args: &MountArgs, context: &OwnedFd, errno: Errno) -> anyhow::Error {
    let said = messages(context);
    let holders = borrow::holders();
    let images = images::mounted(Path::new("/proc")).unwrap_or_default();
    let why = if holders.found.is_empty() && !holders.hidden {
        "no daemon has the device: start it, or see `cachefilesctl doctor`".to_owned()
    } else {
        reason(&args.name, errno, &images)
    };
    let said: String = said.iter().map(|line| format!(" ({line})")).collect();
    anyhow!(errno).context(format!("cannot mount {}: {why}{said}", args.name))
}

/// Why an image cannot be mounted, by the kernel's error.
fn reason(name: &str, errno: Errno, images: &[Image]) -> String {
    let mounted = images.iter().find(|image| image.fsid == name);
    let place = mounted.map(|image| format!("at {}", image.target.display()));
    let place = place.as_deref().unwrap_or("where this cannot see");
    match errno {
        Errno::BUSY | Errno::EXIST => format!(
            "it is mounted already, {place}: `mount --bind` gives it a second place (and after an \
             umount it takes a moment: try again)"
        ),
        // Whatever the daemon answers, EROFS makes one of these of it.
        Errno::IO | Errno::NOBUFS => format!(
            "the daemon does not serve it, and its log says why: it has no blob of that name; or \
             the blob is another one than what is cached of it, which `cachefilesctl invalidate \
             {name}` forgets; or its source is away"
        ),
        Errno::NOENT => "the daemon has no such blob: its log says what it looked for".into(),
        Errno::TIMEDOUT => "the daemon, or its source, did not answer in time".into(),
        Errno::INVAL => {
            "is the blob an EROFS image, and has it all of its devices (--device)? The kernel's \
             log says more"
                .into()
        }
        Errno::OPNOTSUPP => "this kernel has no fscache".into(),
        Errno::ACCESS => {
            "the daemon may not have the blob, or cannot verify it: see its log".into()
        }
        _ => "the daemon's log and the kernel's say more".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(options: &[&str]) -> MountArgs {
        MountArgs {
            domain: Some("d".into()),
            device: vec!["one".into(), "two".into()],
            options: options.iter().map(|&it| it.to_owned()).collect(),
            mkdir: false,
            name: "app".into(),
            target: "/mnt".into(),
        }
    }

    #[test]
    fn options_are_those_of_the_file_system() {
        let args = args(&[
            "noacl",
            "",
            "nosuid",
            "_netdev",
            "x-systemd.requires=cachefiles-ondemandd.service",
            "cache_strategy=readahead",
        ]);
        let attributes = attributes(&args);
        assert!(attributes.contains(MountAttrFlags::MOUNT_ATTR_NOSUID));
        assert!(!attributes.contains(MountAttrFlags::MOUNT_ATTR_NOEXEC));
        let options = options(&args);
        let texts: Vec<String> = options
            .iter()
            .map(|(name, value)| match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            })
            .collect();
        let wanted = [
            "source=none",
            "ro",
            "fsid=app",
            "domain_id=d",
            "device=one",
            "device=two",
            "noacl",
            "cache_strategy=readahead",
        ];
        assert_eq!(texts, wanted);
    }

    #[test]
    fn mount_8_has_its_own_way_to_say_it() {
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&it| it.to_owned()).collect();
            of_helper(&words)
        };
        let args = of(&["app", "/mnt", "-s", "-o", "ro,noexec,domain_id=d,noacl"]);
        let args = args.unwrap().unwrap();
        assert_eq!(
            (&*args.name, args.target.as_path()),
            ("app", Path::new("/mnt"))
        );
        assert!(attributes(&args).contains(MountAttrFlags::MOUNT_ATTR_NOEXEC));
        let set = options(&args);
        assert!(set.contains(&("domain_id".into(), Some("d".into()))));
        assert!(set.contains(&("noacl".into(), None)));
        assert!(of(&["app", "/mnt", "-fn"]).unwrap().is_none());
        for wrong in [&["app"][..], &["app", "/mnt", "x"], &["app", "/mnt", "-o"]] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_kernels_errors_are_told_with_the_way_out() {
        let image = Image {
            target: "/there".into(),
            fsid: "app".into(),
            domain: None,
        };
        let images = [image];
        for (errno, wanted) in [
            (Errno::BUSY, "at /there"),
            (Errno::EXIST, "mount --bind"),
            (Errno::NOENT, "no such blob"),
            (Errno::TIMEDOUT, "in time"),
            (Errno::INVAL, "EROFS image"),
            (Errno::IO, "cachefilesctl invalidate app"),
            (Errno::NOBUFS, "cachefilesctl invalidate app"),
            (Errno::NOSPC, "log"),
        ] {
            let said = reason("app", errno, &images);
            assert!(said.contains(wanted), "{errno}: {said}");
        }
        assert!(reason("other", Errno::BUSY, &images).contains("cannot see"));
    }

    #[test]
    fn a_target_that_is_no_directory_is_refused_before_anything_is_done() {
        let mut args = args(&[]);
        args.target = "/absent/dir".into();
        let error = run(&args).unwrap_err().to_string();
        assert!(error.contains("/absent/dir is no directory"), "{error}");
    }
}
