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
    match name(dir) {
        Ok(name) => Verdict::Good(format!("{}, on {name}", dir.display())),
        Err(magic) => Verdict::Doubtful(
            format!(
                "{} is on a file system that nobody has tried ({magic:#x})",
                dir.display()
            ),
            "if there is trouble, put the cache on ext4, XFS or btrfs",
        ),
    }
}

/// The file system that a directory is on, of those on which the module is tested, or its number.
fn name(dir: &Path) -> Result<&'static str, i64> {
    // `linux/magic.h`; ext2 and ext3 have the same.
    let known = [
        (0xef53, "ext4"),
        (0x5846_5342, "XFS"),
        (0x9123_683e, "btrfs"),
    ];
    let magic = statfs(dir).map_or(0, |stat| stat.f_type);
    let found = known.into_iter().find(|(number, _)| *number == magic);
    found.map(|(_, name)| name).ok_or(magic)
}

/// Whether the disk has room, by the limits that the daemon has if nobody gives others.
pub fn free_space(dir: &Path) -> Verdict {
    let Ok(stat) = statfs(dir) else {
        return Verdict::Unknown("the directory cannot be looked at");
    };
    let percent = |free: u64, all: u64| match all {
        // btrfs has no fixed number of files.
        0 => 100,
        all => u128::from(free) * 100 / u128::from(all),
    };
    free_space_of(
        percent(stat.f_bavail, stat.f_blocks),
        percent(stat.f_ffree, stat.f_files),
    )
}

/// `--bstop` and `--fstop`, `--bcull` and `--fcull`.
const STOP: u128 = 1;
const CULL: u128 = 5;

pub(super) fn free_space_of(blocks: u128, files: u128) -> Verdict {
    let free = format!("{blocks} % of the blocks, {files} % of the files");
    match blocks.min(files) {
        least if least < STOP => Verdict::Missing(
            format!("{free}: nothing more is stored below {STOP} % (--bstop, --fstop)"),
            "make room on that disk, or put the cache on another; readers of what is not cached \
             get EIO until then",
        ),
        least if least < CULL => Verdict::Doubtful(
            format!("{free}: idle blobs are culled below {CULL} % (--bcull, --fcull)"),
            "make room, or expect blobs to be fetched again and again",
        ),
        _ => Verdict::Good(free),
    }
}
