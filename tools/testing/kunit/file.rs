// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::fs`: open files, inodes and mounts.

use crate::scratch::Scratch;
use kernel::prelude::*;
use kernel::types::ARef;
use kernel_ext::cred::NewCredential;
use kernel_ext::errno::EOPNOTSUPP;
use kernel_ext::fs::{Dentry, FallocMode, File, FileSystem, Inode, Path, Whence};
use kernel_ext::io::write_sync;
use kunit::{ensure, ensure_eq, flush_closed_files, Buffer, Outcome, Stop};

kunit::suite!(
    "kernel_ext_file",
    [
        only_a_regular_file_that_is_there_is_opened,
        a_nameless_file_is_made_in_a_directory_only,
        a_file_is_made_longer_and_shorter,
        data_and_holes_are_found,
        a_hole_is_punched_and_the_size_stays,
        what_is_zeroed_makes_the_file_longer,
        a_file_is_only_sized_by_a_name_of_its_own,
        an_inode_is_marked_once,
        a_mark_is_seen_without_the_lock,
        a_cache_has_its_root_in_a_directory,
        whence_is_what_user_space_says,
        a_mount_tells_how_full_it_is,
        a_mount_tells_of_what_kind_it_is,
        a_mount_has_its_root,
        a_mount_is_synced,
        a_path_is_of_its_mount_and_its_name,
        a_path_is_of_one_file_system,
        what_is_no_file_is_not_sized,
        an_exiting_task_looks_nothing_up,
    ]
);

const BLOCK: i64 = 4096;

fn inode_of(dentry: &Dentry) -> Outcome<&Inode> {
    let nothing = || Stop::failed("a file", format_args!("the name is negative"));
    dentry.inode().ok_or_else(nothing)
}

/// Fills a block of the file.
fn fill(file: &File, block: i64) -> Outcome {
    let mut buffer = Buffer::new(1, 0xaa)?;
    let len = buffer.len();
    let written = buffer.to_write_from(len, |iter| write_sync(file, block * BLOCK, iter));
    ensure_eq!(written, Ok(len));
    Ok(())
}

fn open(at: &Scratch, name: &Dentry) -> Result<ARef<File>> {
    let cred = NewCredential::of_current()?.publish();
    File::open_cache_file(&Path::new(at.mount(), name)?, &cred)
}

fn only_a_regular_file_that_is_there_is_opened() -> Outcome {
    for at in Scratch::on_each()? {
        let (file, nothing) = (at.file(b"file")?, at.name(b"nothing")?);
        let opened = open(&at, &file)?;
        ensure!(core::ptr::eq(opened.dentry(), &*file));
        ensure!(core::ptr::eq(opened.inode(), inode_of(&file)?));
        ensure!(opened.has_iter_ops());
        ensure_eq!(open(&at, &nothing).err(), Some(ENOENT));
        ensure_eq!(open(&at, at.dir()).err(), Some(EINVAL));
    }
    Ok(())
}

fn a_nameless_file_is_made_in_a_directory_only() -> Outcome {
    for at in Scratch::on_each()? {
        let cred = NewCredential::of_current()?.publish();
        let file = at.nameless()?;
        ensure!(!file.dentry().is_negative() && file.dentry().is_regular());
        ensure_eq!(file.inode().size(), 0);
        for name in [at.file(b"file")?, at.name(b"nothing")?] {
            let path = Path::new(at.mount(), &name)?;
            let refused = File::create_tmpfile(&path, 0o600, &cred).err();
            ensure_eq!(refused, Some(ENOTDIR));
        }
    }
    Ok(())
}

fn a_file_is_made_longer_and_shorter() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.nameless()?;
        for size in [1, 100_000, 4096, 0, 1 << 32] {
            file.truncate(size)?;
            ensure_eq!(file.inode().size(), size);
        }
        ensure_eq!(file.truncate(-1), Err(EINVAL));
        ensure_eq!(file.inode().size(), 1 << 32);
        ensure_eq!(file.llseek(0, Whence::End), Ok(1 << 32));
    }
    Ok(())
}

fn data_and_holes_are_found() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.nameless()?;
        file.truncate(8 * BLOCK)?;
        fill(&file, 2)?;
        fill(&file, 3)?;
        fill(&file, 6)?;
        let data = |block: i64| file.llseek(block * BLOCK, Whence::Data);
        let hole = |block: i64| file.llseek(block * BLOCK, Whence::Hole);
        ensure_eq!(data(0), Ok(2 * BLOCK));
        ensure_eq!(data(3), Ok(3 * BLOCK));
        ensure_eq!(data(4), Ok(6 * BLOCK));
        ensure_eq!(data(7), Err(ENXIO));
        ensure_eq!(hole(0), Ok(0));
        ensure_eq!(hole(2), Ok(4 * BLOCK));
        ensure_eq!(hole(6), Ok(7 * BLOCK));
        // Behind the end there is neither.
        ensure_eq!(data(8), Err(ENXIO));
        ensure_eq!(hole(8), Err(ENXIO));
    }
    Ok(())
}

fn a_hole_is_punched_and_the_size_stays() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.nameless()?;
        for block in 0..4 {
            fill(&file, block)?;
        }
        file.fallocate(FallocMode::PunchHoleKeepSize, BLOCK, 2 * BLOCK)?;
        ensure_eq!(file.inode().size(), 4 * BLOCK);
        ensure_eq!(file.llseek(0, Whence::Hole), Ok(BLOCK));
        ensure_eq!(file.llseek(BLOCK, Whence::Data), Ok(3 * BLOCK));
        // Beyond the end, too.
        file.fallocate(FallocMode::PunchHoleKeepSize, 0, 100 * BLOCK)?;
        ensure_eq!(file.inode().size(), 4 * BLOCK);
        ensure_eq!(file.llseek(0, Whence::Data), Err(ENXIO));
        let mode = FallocMode::PunchHoleKeepSize;
        ensure_eq!(file.fallocate(mode, -1, BLOCK), Err(EINVAL));
        ensure_eq!(file.fallocate(mode, 0, 0), Err(EINVAL));
    }
    Ok(())
}

fn what_is_zeroed_makes_the_file_longer() -> Outcome {
    let at = Scratch::on_ext4()?;
    let file = at.nameless()?;
    fill(&file, 0)?;
    file.fallocate(FallocMode::ZeroRange, 0, 3 * BLOCK)?;
    ensure_eq!(file.inode().size(), 3 * BLOCK);
    ensure!(
        file.inode().blocks() >= 3 * 8,
        "it has {} blocks",
        file.inode().blocks()
    );
    // tmpfs has no such thing.
    let file = Scratch::on_tmpfs()?.nameless()?;
    let refused = file.fallocate(FallocMode::ZeroRange, 0, BLOCK);
    ensure_eq!(refused, Err(EOPNOTSUPP));
    Ok(())
}

fn a_file_is_only_sized_by_a_name_of_its_own() -> Outcome {
    for at in Scratch::on_each()? {
        let (file, other) = (at.file(b"file")?, at.file(b"other")?);
        let nothing = at.name(b"nothing")?;
        let inode = inode_of(&file)?;
        let write = at.mount().want_write()?;
        let mut locked = inode.lock();
        let sized = locked.set_size(&write, &file, 1000);
        let refused = [
            locked.set_size(&write, &other, 5),
            locked.set_size(&write, &nothing, 5),
            locked.set_size(&write, &file, -1),
        ];
        drop(locked);
        sized?;
        ensure_eq!(refused, [Err(EINVAL); 3]);
        ensure_eq!(inode.size(), 1000);
        ensure_eq!(inode_of(&other)?.size(), 0);
    }
    Ok(())
}

fn an_inode_is_marked_once() -> Outcome {
    let at = Scratch::on_tmpfs()?;
    let file = at.file(b"file")?;
    let mut locked = inode_of(&file)?.lock();
    let seen = (
        locked.is_kernel_file(),
        locked.mark_kernel_file(),
        locked.mark_kernel_file(),
        locked.is_kernel_file(),
    );
    locked.clear_kernel_file();
    let after = (locked.is_kernel_file(), locked.mark_kernel_file());
    locked.clear_kernel_file();
    drop(locked);
    ensure_eq!(seen, (false, true, false, true));
    ensure_eq!(after, (false, true));
    Ok(())
}

fn a_mark_is_seen_without_the_lock() -> Outcome {
    let at = Scratch::on_tmpfs()?;
    let (file, other) = (at.file(b"file")?, at.file(b"other")?);
    let inode = inode_of(&file)?;
    ensure!(inode.lock().mark_kernel_file());
    ensure!(inode.is_kernel_file() && !inode_of(&other)?.is_kernel_file());
    inode.lock().clear_kernel_file();
    ensure!(!inode.is_kernel_file());
    Ok(())
}

fn a_cache_has_its_root_in_a_directory() -> Outcome {
    for at in Scratch::on_each()? {
        let dir = inode_of(at.dir())?;
        ensure!(dir.can_be_cache_root() && dir.can_be_cache_dir());
        let file = at.file(b"file")?;
        let file = inode_of(&file)?;
        ensure!(!file.can_be_cache_root() && !file.can_be_cache_dir());
        ensure!(at.dir().super_block_can_sync_and_statfs() == at.is_on_a_disk());
    }
    let proc = Path::lookup_directory(kernel::c_str!("/proc"))?;
    ensure!(!inode_of(proc.dentry())?.can_be_cache_root());
    ensure!(!inode_of(proc.dentry())?.can_be_cache_dir());
    Ok(())
}

fn whence_is_what_user_space_says() -> Outcome {
    let known = [
        Whence::Set,
        Whence::Cur,
        Whence::End,
        Whence::Data,
        Whence::Hole,
    ];
    for (raw, whence) in (0..).zip(known) {
        ensure_eq!(Whence::from_raw(raw), Some(whence));
    }
    for unknown in [-1, 5, i32::MAX, i32::MIN] {
        ensure_eq!(Whence::from_raw(unknown), None);
    }
    Ok(())
}

fn a_mount_tells_how_full_it_is() -> Outcome {
    // What other tests have closed gives its blocks back now, and not while they are counted.
    flush_closed_files();
    for at in Scratch::on_each()? {
        let (by_mount, by_path) = (at.mount().statfs()?, at.path().statfs()?);
        ensure_eq!(by_mount.bsize, BLOCK);
        ensure_eq!(by_path.bsize, BLOCK);
        ensure_eq!(by_mount.blocks, by_path.blocks);
        ensure!(by_mount.bavail > 0 && by_mount.bavail <= by_mount.blocks);
        ensure!(by_mount.ffree > 0 && by_mount.ffree < by_mount.files);
        // A block that is taken is not free any more.
        let file = at.nameless()?;
        for block in 0..64 {
            fill(&file, block)?;
        }
        at.mount().sync_filesystem()?;
        let after = at.mount().statfs()?;
        let taken = by_mount.bavail.saturating_sub(after.bavail);
        ensure!(taken >= 64, "64 blocks were written, {taken} taken");
        ensure!(after.ffree < by_mount.ffree);
        ensure_eq!(at.dir().super_block_size(), BLOCK as u64);
    }
    Ok(())
}

fn a_mount_tells_of_what_kind_it_is() -> Outcome {
    let memory = Scratch::on_tmpfs()?;
    ensure_eq!(memory.mount().kind(), FileSystem::Other);
    ensure_eq!(memory.mount().options().map(|_| ()), Err(EINVAL));
    ensure_eq!(memory.mount().journal(), Err(EINVAL));
    let disk = Scratch::on_ext4()?;
    ensure_eq!(disk.mount().kind(), FileSystem::Ext4);
    let journal = disk.mount().journal()?;
    ensure!(journal.is_internal && journal.has_extents && !journal.has_hidden_options);
    // It is mounted with an option of which another's name is the beginning.
    let options = disk.mount().options()?;
    ensure!(options.has(b"commit") && !options.has(b"comm") && !options.has(b"commit=9"));
    ensure!(!options.has(b"nobarrier"));
    Ok(())
}

fn a_mount_has_its_root() -> Outcome {
    for at in Scratch::on_each()? {
        let root = at.mount().root();
        ensure!(root.is_dir() && at.dir().is_within(root));
        ensure!(core::ptr::eq(inode_of(root)?, at.mount().root_inode()));
        ensure!(!at.mount().is_idmapped());
        // Something else is mounted there, of which the root is this one.
        ensure!(!root.is_mountpoint());
    }
    let place = Path::lookup_directory(kernel::c_str!("/run"))?;
    let below = place.dentry().lookup_positive_unlocked(b"kunit")?;
    let covered = below.lookup_positive_unlocked(b"tmpfs")?;
    ensure!(covered.is_mountpoint());
    Ok(())
}

fn a_mount_is_synced() -> Outcome {
    for at in Scratch::on_each()? {
        fill(&*at.nameless()?, 0)?;
        ensure_eq!(at.mount().sync_filesystem(), Ok(()));
    }
    Ok(())
}

fn an_exiting_task_looks_nothing_up() -> Outcome {
    let name = kernel::c_str!("/proc");
    ensure!(Path::lookup_directory(name).is_ok());
    let found = kunit::as_if_exiting(|| {
        (
            Path::lookup_directory(name).err(),
            Path::lookup_directory(kernel::c_str!("proc")).err(),
            Path::of_cwd().err(),
        )
    });
    ensure_eq!(found, (Some(ENOENT), Some(ENOENT), Some(ENOENT)));
    Ok(())
}

fn a_path_is_of_one_file_system() -> Outcome {
    let [one, other] = Scratch::on_each()?;
    ensure_eq!(Path::new(one.mount(), other.dir()).err(), Some(EXDEV));
    ensure_eq!(Path::new(other.mount(), one.dir()).err(), Some(EXDEV));
    let path = Path::new(one.mount(), one.dir())?;
    ensure!(core::ptr::eq(path.dentry(), one.dir()));
    Ok(())
}

fn what_is_no_file_is_not_sized() -> Outcome {
    for at in Scratch::on_each()? {
        let sub = at.mkdir(b"sub")?;
        let write = at.mount().want_write()?;
        let mut locked = inode_of(&sub)?.lock();
        let refused = locked.set_size(&write, &sub, 0);
        drop(locked);
        ensure_eq!(refused, Err(EINVAL));
    }
    Ok(())
}

fn a_path_is_of_its_mount_and_its_name() -> Outcome {
    let at = Scratch::on_tmpfs()?;
    let copy = at.path().clone();
    ensure!(core::ptr::eq(copy.mount(), at.mount()));
    ensure!(core::ptr::eq(copy.dentry(), at.dir()));
    for (name, error) in [
        (kernel::c_str!("/run/kunit/nothing"), ENOENT),
        (kernel::c_str!("/proc/version"), ENOTDIR),
        (kernel::c_str!(""), ENOENT),
    ] {
        ensure_eq!(Path::lookup_directory(name).err(), Some(error));
    }
    // Kernel threads are where the first process was before it went anywhere.
    let root = Path::lookup_directory(kernel::c_str!("/"))?;
    ensure!(core::ptr::eq(Path::of_cwd()?.dentry(), root.dentry()));
    Ok(())
}
