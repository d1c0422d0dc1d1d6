// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::fs`: names, and the directories that they are in.

use crate::scratch::Scratch;
use kernel::prelude::*;
use kernel::str::CString;
use kernel_ext::errno::{ENAMETOOLONG, ESTALE};
use kernel_ext::fs::{Dentry, RenameLock};
use kunit::{ensure, ensure_eq, Outcome};

kunit::suite!(
    "kernel_ext_dir",
    [
        a_name_that_nobody_has_is_negative,
        a_directory_that_is_made_is_there,
        a_file_that_gets_a_name_is_found_by_it,
        a_name_is_given_once,
        bad_names_are_refused,
        what_is_no_directory_has_no_names,
        a_name_that_is_deleted_is_gone,
        a_name_is_deleted_once,
        a_nameless_file_is_not_deleted_by_its_dentry,
        a_file_that_is_held_outlives_its_name,
        nothing_is_not_deleted,
        a_directory_is_not_deleted_like_a_file,
        a_name_of_another_directory_is_refused,
        write_access_to_another_file_system_changes_nothing,
        a_name_that_was_moved_away_is_refused,
        a_nameless_file_that_was_named_and_deleted_is_not_named_again,
        what_is_below_a_directory_is_within_it,
        what_cannot_be_printed_is_escaped,
        what_a_read_only_mount_holds_is_not_written,
    ]
);

/// The error of an operation that must not succeed.
fn refusal<T>(result: Result<T>) -> Option<Error> {
    result.err()
}

fn unlink(at: &Scratch, name: &Dentry) -> Result {
    let write = at.mount().want_write()?;
    at.dir().lock_as_parent()?.unlink(&write, name)
}

fn a_name_that_nobody_has_is_negative() -> Outcome {
    for at in Scratch::on_each()? {
        let nothing = at.name(b"nothing")?;
        ensure!(nothing.is_negative());
        ensure!(!nothing.is_dir() && !nothing.is_regular() && !nothing.can_lookup());
        ensure!(nothing.inode().is_none());
        ensure!(nothing.is_child_of(at.dir()));
        let found = at.dir().lookup_positive_unlocked(b"nothing");
        ensure_eq!(refusal(found), Some(ENOENT));
    }
    Ok(())
}

fn a_directory_that_is_made_is_there() -> Outcome {
    for at in Scratch::on_each()? {
        let sub = at.mkdir(b"sub")?;
        ensure!(sub.is_dir() && sub.can_lookup() && !sub.is_regular() && !sub.is_negative());
        let found = at.dir().lookup_positive_unlocked(b"sub")?;
        ensure!(core::ptr::eq(&*found, &*sub));
        let write = at.mount().want_write()?;
        let locked = at.dir().lock_as_parent()?;
        let again = locked.mkdir(&write, &sub, 0o755);
        drop(locked);
        ensure_eq!(again, Err(EEXIST));
    }
    Ok(())
}

fn a_file_that_gets_a_name_is_found_by_it() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.nameless()?;
        let name = at.link(&file, b"file")?;
        ensure!(name.is_regular() && !name.is_dir() && !name.is_negative());
        let found = at.dir().lookup_positive_unlocked(b"file")?;
        let same = found
            .inode()
            .is_some_and(|inode| core::ptr::eq(inode, file.inode()));
        ensure!(same);
    }
    Ok(())
}

fn a_name_is_given_once() -> Outcome {
    for at in Scratch::on_each()? {
        let (first, second) = (at.nameless()?, at.nameless()?);
        let name = at.link(&first, b"file")?;
        let write = at.mount().want_write()?;
        let locked = at.dir().lock_as_parent()?;
        let refused = locked.link(&write, second.dentry(), &name);
        drop(locked);
        ensure_eq!(refused, Err(EEXIST));
    }
    Ok(())
}

fn bad_names_are_refused() -> Outcome {
    let longest = [b'x'; 255];
    let too_long = [b'x'; 256];
    for at in Scratch::on_each()? {
        let bad: [(&[u8], Error); 7] = [
            (b"", EACCES),
            (b".", EACCES),
            (b"..", EACCES),
            (b"a/b", EACCES),
            (b"/", EACCES),
            (b"a\0b", EACCES),
            (&too_long, ENAMETOOLONG),
        ];
        for (name, error) in bad {
            let locked = at.dir().lock_as_parent()?;
            let found = refusal(locked.lookup(name));
            drop(locked);
            ensure_eq!(found, Some(error));
            let found = refusal(at.dir().lookup_positive_unlocked(name));
            ensure_eq!(found, Some(error));
        }
        ensure!(at.name(&longest)?.is_negative());
        ensure!(at.name(b"...")?.is_negative());
    }
    Ok(())
}

fn what_is_no_directory_has_no_names() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.file(b"file")?;
        let nothing = at.name(b"nothing")?;
        ensure_eq!(refusal(file.lock_as_parent()), Some(ENOTDIR));
        ensure_eq!(refusal(nothing.lock_as_parent()), Some(ENOENT));
        let found = file.lookup_positive_unlocked(b"x");
        ensure_eq!(refusal(found), Some(ENOTDIR));
        let found = nothing.lookup_positive_unlocked(b"x");
        ensure_eq!(refusal(found), Some(ENOTDIR));
    }
    Ok(())
}

fn a_name_that_is_deleted_is_gone() -> Outcome {
    for at in Scratch::on_each()? {
        let name = at.file(b"file")?;
        unlink(&at, &name)?;
        let found = at.dir().lookup_positive_unlocked(b"file");
        ensure_eq!(refusal(found), Some(ENOENT));
        ensure!(at.name(b"file")?.is_negative());
    }
    Ok(())
}

fn a_name_is_deleted_once() -> Outcome {
    for at in Scratch::on_each()? {
        let name = at.file(b"file")?;
        unlink(&at, &name)?;
        ensure_eq!(unlink(&at, &name), Err(ESTALE));
        // Nor when another file has the name.
        at.file(b"file")?;
        ensure_eq!(unlink(&at, &name), Err(ESTALE));
        ensure!(at.name(b"file")?.is_regular());
    }
    Ok(())
}

fn a_nameless_file_is_not_deleted_by_its_dentry() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.nameless()?;
        ensure_eq!(unlink(&at, file.dentry()), Err(ESTALE));
        let name = at.link(&file, b"file")?;
        ensure_eq!(unlink(&at, file.dentry()), Err(ESTALE));
        ensure!(!name.is_unhashed());
        unlink(&at, &name)?;
    }
    Ok(())
}

/// Everything that is borrowed from a dentry relies on this: see the head of `kernel_ext::fs`.
fn a_file_that_is_held_outlives_its_name() -> Outcome {
    for at in Scratch::on_each()? {
        // The one reference there is to the name.
        let name = at.file(b"file")?;
        let ino = name.inode().map(|inode| inode.ino());
        unlink(&at, &name)?;
        ensure!(!name.is_negative());
        ensure!(name.is_unhashed());
        ensure_eq!(name.inode().map(|inode| inode.ino()), ino);
        ensure!(ino.is_some());
    }
    Ok(())
}

fn nothing_is_not_deleted() -> Outcome {
    for at in Scratch::on_each()? {
        let nothing = at.name(b"nothing")?;
        ensure_eq!(unlink(&at, &nothing), Err(ENOENT));
    }
    Ok(())
}

fn a_directory_is_not_deleted_like_a_file() -> Outcome {
    for at in Scratch::on_each()? {
        let sub = at.mkdir(b"sub")?;
        ensure_eq!(unlink(&at, &sub), Err(EISDIR));
        ensure!(sub.is_dir() && !sub.is_unhashed());
    }
    Ok(())
}

fn a_name_of_another_directory_is_refused() -> Outcome {
    for at in Scratch::on_each()? {
        let sub = at.mkdir(b"sub")?;
        let (file, nothing) = (at.file(b"file")?, at.name(b"nothing")?);
        let write = at.mount().want_write()?;
        let locked = sub.lock_as_parent()?;
        let refused = [
            locked.unlink(&write, &file),
            locked.mkdir(&write, &nothing, 0o755),
            locked.link(&write, &file, &nothing),
        ];
        drop(locked);
        ensure_eq!(refused, [Err(ESTALE); 3]);
        ensure!(nothing.is_negative() && !file.is_unhashed());
    }
    Ok(())
}

fn write_access_to_another_file_system_changes_nothing() -> Outcome {
    let [one, other] = Scratch::on_each()?;
    let (file, nothing) = (one.file(b"file")?, one.name(b"nothing")?);
    let attribute = kernel::c_str!("user.kunit");
    let inode = file.inode().ok_or(ENOENT)?;
    let write = other.mount().want_write()?;
    let locked = one.dir().lock_as_parent()?;
    let refused = [
        locked.unlink(&write, &file),
        locked.mkdir(&write, &nothing, 0o755),
        locked.link(&write, &file, &nothing),
    ];
    drop(locked);
    let lock = RenameLock::new(one.dir(), one.dir())?;
    let moved = lock.rename(&write, &file, &nothing);
    drop(lock);
    let sized = inode.lock().set_size(&write, &file, 1000);
    let noted = [
        file.set_xattr(&write, attribute, b"hello"),
        file.remove_xattr(&write, attribute),
    ];
    ensure_eq!(refused, [Err(EXDEV); 3]);
    ensure_eq!((moved, sized), (Err(EXDEV), Err(EXDEV)));
    ensure_eq!(noted, [Err(EXDEV); 2]);
    ensure!(nothing.is_negative() && !file.is_unhashed() && inode.size() == 0);
    Ok(())
}

fn a_name_that_was_moved_away_is_refused() -> Outcome {
    for at in Scratch::on_each()? {
        let sub = at.mkdir(b"sub")?;
        let file = at.file(b"file")?;
        let write = at.mount().want_write()?;
        // Somebody moves it between our lookup and our lock.
        let lock = RenameLock::new(&sub, at.dir())?;
        let target = lock.lookup_in_first(b"elsewhere")?;
        lock.rename(&write, &file, &target)?;
        drop(lock);
        let locked = at.dir().lock_as_parent()?;
        let refused = locked.unlink(&write, &file);
        drop(locked);
        ensure_eq!(refused, Err(ESTALE));
        ensure!(file.is_child_of(&sub) && !file.is_unhashed());
    }
    Ok(())
}

fn a_nameless_file_that_was_named_and_deleted_is_not_named_again() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.nameless()?;
        let name = at.link(&file, b"file")?;
        unlink(&at, &name)?;
        let again = at.name(b"again")?;
        let write = at.mount().want_write()?;
        let locked = at.dir().lock_as_parent()?;
        let refused = locked.link(&write, file.dentry(), &again);
        drop(locked);
        ensure_eq!(refused, Err(ENOENT));
    }
    Ok(())
}

fn what_is_below_a_directory_is_within_it() -> Outcome {
    let (at, other) = (Scratch::on_tmpfs()?, Scratch::on_tmpfs()?);
    let sub = at.mkdir(b"sub")?;
    ensure!(sub.is_within(at.dir()) && at.dir().is_within(at.dir()));
    ensure!(!at.dir().is_within(&sub) && !sub.is_within(other.dir()));
    ensure!(sub.is_child_of(at.dir()) && !sub.is_child_of(&sub));
    ensure!(sub.is_within(at.mount().root()) && !sub.is_child_of(at.mount().root()));
    Ok(())
}

fn what_cannot_be_printed_is_escaped() -> Outcome {
    let at = Scratch::on_tmpfs()?;
    let names: [(&[u8], &str); 3] = [
        (b"plain", "plain"),
        (b"\x01\n\xff", "\\x01\\n\\xff"),
        (
            &[b'x'; 255],
            core::str::from_utf8(&[b'x'; 255]).unwrap_or(""),
        ),
    ];
    for (name, printed) in names {
        let text = CString::try_from_fmt(format_args!("{}", at.name(name)?.name()))?;
        ensure_eq!(text.to_str(), Ok(printed));
    }
    Ok(())
}

fn what_a_read_only_mount_holds_is_not_written() -> Outcome {
    let path = crate::scratch::read_only()?;
    ensure_eq!(refusal(path.mount().want_write()), Some(EROFS));
    ensure!(path.dentry().super_block_is_read_only());
    let at = Scratch::on_tmpfs()?;
    ensure!(at.mount().want_write().is_ok());
    ensure!(!at.dir().super_block_is_read_only());
    Ok(())
}
