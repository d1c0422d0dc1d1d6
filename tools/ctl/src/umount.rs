// SPDX-License-Identifier: GPL-2.0
//! Unmounting an image.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::images::{self, Image};

/// Options of `umount`.
#[derive(Debug, Args)]
pub struct UmountArgs {
    /// Take it out of sight at once, and down when its last user is gone
    #[arg(long)]
    lazy: bool,
    /// The image: its fsid, or where it is mounted
    #[arg(value_name = "NAME|DIR")]
    what: String,
}

/// Unmounts it.
pub fn run(args: &UmountArgs) -> Result<()> {
    let images = images::mounted(Path::new("/proc"))?;
    let target = choose(&args.what, &images)?;
    let flags = match args.lazy {
        true => UnmountFlags::DETACH,
        false => UnmountFlags::empty(),
    };
    unmount(&target, flags).map_err(|errno| {
        let why = match errno {
            Errno::BUSY => busy(&target, Path::new("/proc")),
            Errno::PERM => "only root (CAP_SYS_ADMIN) may".into(),
            Errno::INVAL => "nothing is mounted there".into(),
            _ => "the kernel refuses".into(),
        };
        anyhow!(errno).context(format!("cannot unmount {}: {why}", target.display()))
    })
}

/// Where what was named is mounted.
fn choose(what: &str, images: &[Image]) -> Result<PathBuf> {
    let path = Path::new(what);
    let in_full = fs::canonicalize(path);
    let in_full = in_full.as_deref().unwrap_or(path);
    if let Some(image) = images.iter().find(|image| image.target == in_full) {
        return Ok(image.target.clone());
    }
    let places: Vec<&Image> = images.iter().filter(|image| image.fsid == what).collect();
    match *places {
        [] => bail!("{what} is neither the name of a mounted image nor where one is mounted"),
        [image] => Ok(image.target.clone()),
        _ => {
            let targets = places
                .iter()
                .map(|image| image.target.display().to_string());
            let targets: Vec<String> = targets.collect();
            bail!("{what} is mounted at {}: say where", targets.join(", "))
        }
    }
}

/// Which processes use something below a directory.
fn busy(target: &Path, proc: &Path) -> String {
    let mut users = Vec::new();
    for process in fs::read_dir(proc).into_iter().flatten().flatten() {
        let name = process.file_name();
        let pid = name.to_str().and_then(|it| it.parse::<u32>().ok());
        // This one is in the shell's working directory.
        let Some(pid) = pid.filter(|&pid| pid != std::process::id()) else {
            continue;
        };
        let path = process.path();
        let mut links = vec![path.join("cwd"), path.join("root"), path.join("exe")];
        let fds = fs::read_dir(path.join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        links.extend(fds.map(|fd| fd.path()));
        let is_user =
            |link: &PathBuf| fs::read_link(link).is_ok_and(|used| used.starts_with(target));
        if links.iter().any(is_user) {
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            users.push(format!("{pid} ({})", name.trim_end()));
        }
    }
    match users.is_empty() {
        true => "it is in use: by another mount below it, a mapped file, or a loop device".into(),
        false => format!(
            "it is in use by {} (--lazy does it all the same)",
            users.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_image_is_named_by_fsid_or_place() {
        let image = |target: &str, fsid: &str| Image {
            target: target.into(),
            fsid: fsid.into(),
            domain: None,
        };
        let images = [image("/a", "app"), image("/b", "two"), image("/c", "two")];
        let chosen = |what| choose(what, &images).map_err(|error| error.to_string());
        assert_eq!(chosen("app"), Ok("/a".into()));
        assert_eq!(chosen("/b"), Ok("/b".into()));
        assert!(chosen("two").unwrap_err().contains("/b, /c: say where"));
        assert!(chosen("none").unwrap_err().contains("neither"));
        assert!(chosen("/").is_err());
    }

    #[test]
    fn who_uses_it_is_named() {
        let proc = tempfile::tempdir().unwrap();
        let process = proc.path().join("12");
        fs::create_dir_all(process.join("fd")).unwrap();
        fs::write(process.join("comm"), "sh\n").unwrap();
        symlink("/mnt/app/bin/x", process.join("fd/3")).unwrap();
        let own = proc.path().join(std::process::id().to_string());
        fs::create_dir(&own).unwrap();
        symlink("/mnt/app", own.join("cwd")).unwrap();
        let of = |target| busy(Path::new(target), proc.path());
        assert!(of("/mnt/app").contains("by 12 (sh) (--lazy"));
        assert!(of("/mnt/ap").contains("another mount"));
    }
}
