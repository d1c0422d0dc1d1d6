// SPDX-License-Identifier: GPL-2.0
//! Removing from the cache what nobody uses. Which that is only the kernel knows: it is asked for
//! each file, and refuses those in use.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use cachefiles_daemon::borrow;
use cachefiles_protocol::{Device, Errno};

use crate::objects::{self, Object};
use crate::size;

/// What became of some files.
#[derive(Debug, Default, PartialEq, Eq)]
struct Culled {
    files: u64,
    bytes: u64,
    in_use: Vec<String>,
}

/// Culls the files of these keys, or all if there are none. Fails if one that was named is in use.
pub fn run(dir: &Path, keys: &[String]) -> Result<ExitCode> {
    let objects = objects::find(dir)?;
    let chosen = choose(objects, keys)?;
    let device = borrow::device()?;
    let culled = cull(&chosen, |object| ask(&device, object))?;
    println!(
        "{} files removed, {} freed",
        culled.files,
        size::text(culled.bytes)
    );
    if !culled.in_use.is_empty() {
        eprintln!("in use, and so still there: {}", culled.in_use.join(", "));
    }
    Ok(match culled.in_use.is_empty() || keys.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn choose(mut objects: Vec<Object>, keys: &[String]) -> Result<Vec<Object>> {
    for key in keys {
        if !objects.iter().any(|object| object.key == *key) {
            bail!("nothing is cached of {key}");
        }
    }
    objects.retain(|object| keys.is_empty() || keys.contains(&object.key));
    Ok(objects)
}

fn ask(device: &Device, object: &Object) -> Result<(), Errno> {
    // The kernel looks for the file in the working directory.
    rustix::process::chdir(&object.folder)?;
    device.cull(&object.name)
}

fn cull(objects: &[Object], mut ask: impl FnMut(&Object) -> Result<(), Errno>) -> Result<Culled> {
    let mut culled = Culled::default();
    for object in objects {
        match ask(object) {
            Ok(()) => {
                culled.files += 1;
                culled.bytes += object.present;
            }
            Err(Errno::BUSY) => culled.in_use.push(object.key.clone()),
            // Somebody else was faster.
            Err(Errno::NOENT | Errno::STALE) => {}
            Err(Errno::XDEV) => bail!("the daemon's cache is in another directory"),
            Err(errno) => {
                return Err(errno).with_context(|| format!("culling {}", object.path().display()));
            }
        }
    }
    Ok(culled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(key: &str) -> Object {
        Object {
            folder: "/c/cache/Iv/@01".into(),
            name: format!("D{key}").into(),
            volume: "v".into(),
            key: key.into(),
            size: 8192,
            present: 4096,
        }
    }

    #[test]
    fn what_is_in_use_stays_and_is_named() {
        let objects = ["a", "b", "c", "d"].map(object);
        let answer = |object: &Object| match &*object.key {
            "b" => Err(Errno::BUSY),
            "c" => Err(Errno::STALE),
            _ => Ok(()),
        };
        let wanted = Culled {
            files: 2,
            bytes: 8192,
            in_use: vec!["b".into()],
        };
        assert_eq!(cull(&objects, answer).unwrap(), wanted);
        let other = cull(&objects, |_| Err(Errno::XDEV)).unwrap_err();
        assert!(other.to_string().contains("another directory"));
    }

    #[test]
    fn only_what_is_named_is_chosen() {
        let all = || ["a", "b", "a"].map(object).to_vec();
        assert_eq!(choose(all(), &[]).unwrap().len(), 3);
        assert_eq!(choose(all(), &["a".into()]).unwrap().len(), 2);
        let error = choose(all(), &["x".into()]).unwrap_err().to_string();
        assert_eq!(error, "nothing is cached of x");
    }
}
