// SPDX-License-Identifier: GPL-2.0
//! Kernel modules and mounts, as the tests and the runner need them.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::registry::CacheFs;

/// The name of the module under test, whichever it is.
pub const MODULE: &str = "cachefiles";

/// Where the cache disk is mounted.
pub const CACHE: &str = "/cache";

/// Calls `ready` until it says yes; an error after `limit`.
pub fn wait_for(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + limit;
    while !ready() {
        ensure!(
            Instant::now() < end,
            "gave up after {limit:?} waiting for: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Loads the module from a file, and waits for its device.
pub fn load_module(path: &Path) -> Result<()> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("opening {}", path.display()))?;
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    rustix::system::finit_module(&file, &parameters_in(&line)?, 0)
        .with_context(|| format!("inserting {}", path.display()))?;
    wait_for("the device node", Duration::from_secs(5), || {
        Path::new("/dev/cachefiles").exists()
    })
}

/// The parameters for the module on the kernel's command line, as modprobe takes them from there.
fn parameters_in(line: &str) -> Result<CString> {
    let prefix = format!("{MODULE}.");
    let words = line
        .split_whitespace()
        .filter_map(|word| word.strip_prefix(&prefix));
    Ok(CString::new(words.collect::<Vec<_>>().join(" "))?)
}

/// Whether the module is loaded.
pub fn module_loaded() -> bool {
    Path::new("/sys/module").join(MODULE).exists()
}

/// Whether the kernel is one with KASAN or KCSAN: all takes long there, and figures of memory say
/// little, as the former keeps what is freed for a while.
pub fn has_sanitizer() -> Result<bool> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("reading the kernel's symbols")?;
    let signs = [" kasan_quarantine_put", " kcsan_atomic_next"];
    Ok(signs.iter().any(|sign| symbols.contains(sign)))
}

/// Whether the kernel or one of its modules has a function or variable of this name.
pub fn has_symbol(name: &str) -> Result<bool> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("reading the kernel's symbols")?;
    Ok(symbols
        .lines()
        .any(|line| line.split_whitespace().nth(2) == Some(name)))
}

/// Whether the kernel checks the order in which locks are taken.
pub fn has_lockdep() -> bool {
    Path::new("/proc/lockdep").exists()
}

/// How many references the module has.
pub fn module_references() -> Result<i64> {
    let text = fs::read_to_string("/sys/module/cachefiles/refcnt").context("reading refcnt")?;
    text.trim().parse().context("refcnt is not a number")
}

/// Waits until nothing uses the module.
pub fn wait_until_unused(limit: Duration) -> Result<()> {
    wait_for("the module to be unused", limit, || {
        module_references().is_ok_and(|count| count == 0)
    })
}

/// Removes the module as soon as nothing uses it.
pub fn remove_unused_module(limit: Duration) -> Result<()> {
    wait_until_unused(limit)?;
    remove_module().context("removing the module")
}

/// Removes the module, without waiting: an error if anything still uses it.
pub fn remove_module() -> Result<(), Errno> {
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    rustix::system::delete_module(c"cachefiles", nonblock)
}

/// Mounts the cache disk.
pub fn mount_cache(device: &Path, fs: CacheFs) -> Result<()> {
    fs::create_dir_all(CACHE)?;
    mount(device, CACHE, fs.name(), MountFlags::empty(), None)
        .with_context(|| format!("mounting {} as {}", device.display(), fs.name()))
}

/// Empties the cache disk. `lost+found` belongs to the filesystem. Waits for a cache that is just
/// being given up, whose directories can't be removed.
pub fn empty_cache() -> Result<()> {
    let mut result = Ok(());
    let emptied = wait_for("the cache's directories", crate::task::soon(), || {
        result = remove_all();
        result.is_ok()
    });
    emptied.and(result)
}

fn remove_all() -> Result<()> {
    for entry in fs::read_dir(CACHE)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == "lost+found") {
            continue;
        }
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

/// Mounts an EROFS served on demand. The options are bytes: keys need not be text.
pub fn mount_erofs(target: &Path, options: &[u8]) -> Result<(), Errno> {
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    mount(
        "none",
        target,
        c"erofs",
        MountFlags::RDONLY,
        Some(options.as_c_str()),
    )
}

/// Mount points at or below `under`, of type `fstype` if one is given, the innermost first.
pub fn mounts(under: &Path, fstype: Option<&str>) -> Result<Vec<PathBuf>> {
    let table = fs::read("/proc/self/mounts").context("reading the mount table")?;
    let mut found = Vec::new();
    for line in table.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b' ');
        let (Some(_), Some(target), Some(kind)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let target = Path::new(std::ffi::OsStr::from_bytes(target));
        if target.starts_with(under) && fstype.is_none_or(|wanted| wanted.as_bytes() == kind) {
            found.push(target.to_owned());
        }
    }
    found.reverse();
    Ok(found)
}

/// Takes a mount out of the tree at once, and down when its last user is gone.
pub fn detach(target: &Path) -> Result<(), Errno> {
    unmount(target, UnmountFlags::DETACH)
}

/// Unmounts, waiting for users that are on their way out.
pub fn unmount_patiently(target: &Path, limit: Duration) -> Result<()> {
    let end = Instant::now() + limit;
    loop {
        match unmount(target, UnmountFlags::empty()) {
            Ok(()) => return Ok(()),
            Err(Errno::BUSY) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(errno) => bail!("unmounting {}: {errno}", target.display()),
        }
    }
}

/// Lines of a table in `/proc/fs/fscache` below its two heading lines: what is still there.
pub fn fscache_table(name: &str) -> Result<Vec<String>> {
    let path = Path::new("/proc/fs/fscache").join(name);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.lines().skip(2).map(str::to_owned).collect())
}

/// Whether fscache knows no cookie and no volume any more.
pub fn nothing_cached() -> bool {
    ["cookies", "volumes"]
        .iter()
        .all(|name| fscache_table(name).is_ok_and(|rows| rows.is_empty()))
}

/// Whether no cookie of fscache is on its way to being usable.
pub fn lookups_done() -> Result<bool> {
    // The sixth column is the state: quiescent, looking up and creating come before active.
    let waits = |row: &String| matches!(row.split_whitespace().nth(5), Some("-" | "L" | "C"));
    Ok(!fscache_table("cookies")?.iter().any(waits) && !look_ups_are_left()?)
}

/// Whether a look-up has not ended that waits for the daemon, or has just had its answer. With our
/// module the cookie is active before that, and the look-up is shown; C's has fscache wait.
fn look_ups_are_left() -> Result<bool> {
    match fs::read_to_string("/sys/kernel/debug/cachefiles/objects") {
        Ok(objects) => {
            let state = |row: &str| row.split_whitespace().nth(2) == Some("looking-up");
            Ok(objects.lines().any(state))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Waits until the files that are open have been looked up in the cache, if netfs does not do so.
///
/// Before its rolling buffer (up to 6.12.113), netfs leaves the cache out of a write for which the
/// look-up has not ended: the data of a new file is not stored, and of a stored file the cache
/// keeps the old data, which is read from then on. The module below it has no say in that.
pub fn wait_for_old_netfs(limit: Duration) -> Result<()> {
    static OLD: OnceLock<bool> = OnceLock::new();
    let old = match OLD.get() {
        Some(old) => *old,
        None => !has_symbol("rolling_buffer_init")?,
    };
    if !*OLD.get_or_init(|| old) {
        return Ok(());
    }
    wait_for("the look-up, as netfs does not", limit, || {
        lookups_done().unwrap_or(false)
    })
}
