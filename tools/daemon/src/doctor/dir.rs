// SPDX-License-Identifier: GPL-2.0
//! Whether a directory can hold a cache: tried out with a file that has no name.

use std::path::Path;

use rustix::fs::{Mode, OFlags, XattrFlags, fsetxattr, open, statfs};
use rustix::io::Errno;

use super::Verdict;

/// `linux/magic.h`
pub(super) const TMPFS_MAGIC: i64 = 0x0102_1994;
const OTHER_WAY: &str = "put the cache on ext4, XFS or btrfs";

/// Looks at the directory, and at the file system that it is on.
pub fn look(dir: &Path) -> Verdict {
    if !dir.is_dir() {
        return Verdict::Missing(
            format!("{} is no directory", dir.display()),
            "create it: mkdir -p",
        );
    }
    // It has all that is tried out below, and yet cannot be told to write itself to a disk.
    if statfs(dir).is_ok_and(|stat| stat.f_type == TMPFS_MAGIC) {
        return Verdict::Missing("it is on a tmpfs, which has no disk".into(), OTHER_WAY);
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = match open(dir, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => file,
        Err(Errno::ROFS) => {
            return Verdict::Missing(
                format!("the file system of {} is read-only", dir.display()),
                OTHER_WAY,
            );
        }
        Err(Errno::ACCESS | Errno::PERM) => return Verdict::Unknown("call this as root"),
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
            return Verdict::Missing(
                "its file system has no files without a name (O_TMPFILE)".into(),
                OTHER_WAY,
            );
        }
        Err(errno) => {
            return Verdict::Missing(
                format!("no file can be made in {}: {errno}", dir.display()),
                OTHER_WAY,
            );
        }
    };
    if let Err(errno) = fsetxattr(&file, c"user.cachefiles-doctor", b"1", XattrFlags::empty()) {
        return Verdict::Missing(
            format!("its file system takes no extended attributes: {errno}"),
            OTHER_WAY,
        );
    }
    Verdict::Good(format!("{}{}", dir.display(), free(dir)))
}

/// How much is free there, in per cent, as the limits of culling count it.
fn free(dir: &Path) -> String {
    match statfs(dir) {
        Ok(stat) if stat.f_blocks > 0 => {
            format!(
                ", {} % free",
                stat.f_bavail.saturating_mul(100) / stat.f_blocks
            )
        }
        _ => String::new(),
    }
}
