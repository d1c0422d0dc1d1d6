// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::fs::RenameLock`: moving a name, with both directories locked.

use crate::scratch::Scratch;
use kernel::prelude::*;
use kernel_ext::errno::ESTALE;
use kernel_ext::fs::RenameLock;
use kunit::{ensure, ensure_eq, Outcome};

kunit::suite!(
    "kernel_ext_rename",
    [
        a_name_moves_to_another_directory,
        a_name_moves_within_its_directory,
        a_name_takes_the_place_of_another,
        what_is_no_directory_is_not_locked,
        two_file_systems_are_not_locked_together,
        names_of_other_directories_are_refused,
        nothing_is_not_moved,
        what_has_no_name_is_not_moved,
        no_loop_is_tied,
        a_directory_that_is_not_empty_is_not_replaced,
        the_mark_of_a_child_is_cleared,
        the_mark_of_a_locked_directory_is_cleared,
    ]
);

fn a_name_moves_to_another_directory() -> Outcome {
    for at in Scratch::on_each()? {
        let sub = at.mkdir(b"sub")?;
        let file = at.file(b"file")?;
        let write = at.mount().want_write()?;
        let lock = RenameLock::new(&sub, at.dir())?;
        let target = lock.lookup_in_first(b"moved")?;
        let moved = lock.rename(&write, &file, &target);
        drop(lock);
        moved?;
        ensure!(at.name(b"file")?.is_negative());
        let found = sub.lookup_positive_unlocked(b"moved")?;
        ensure!(core::ptr::eq(&*found, &*file) && file.is_child_of(&sub));
    }
    Ok(())
}

fn a_name_moves_within_its_directory() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.file(b"file")?;
        let write = at.mount().want_write()?;
        let lock = RenameLock::new(at.dir(), at.dir())?;
        let target = lock.lookup_in_first(b"moved")?;
        let moved = lock.rename(&write, &file, &target);
        drop(lock);
        moved?;
        ensure!(at.name(b"file")?.is_negative());
        ensure!(core::ptr::eq(&*at.name(b"moved")?, &*file));
    }
    Ok(())
}

fn a_name_takes_the_place_of_another() -> Outcome {
    for at in Scratch::on_each()? {
        let sub = at.mkdir(b"sub")?;
        let file = at.file(b"file")?;
        let old = at.file(b"old")?;
        let write = at.mount().want_write()?;
        let lock = RenameLock::new(at.dir(), at.dir())?;
        let moved = lock.rename(&write, &file, &old);
        drop(lock);
        moved?;
        ensure!(core::ptr::eq(&*at.name(b"old")?, &*file));
        ensure!(old.is_unhashed() && !old.is_negative());
        // But a directory is not replaced by a file.
        let lock = RenameLock::new(at.dir(), at.dir())?;
        let refused = lock.rename(&write, &file, &sub);
        drop(lock);
        ensure_eq!(refused, Err(EISDIR));
    }
    Ok(())
}

fn what_is_no_directory_is_not_locked() -> Outcome {
    let at = Scratch::on_tmpfs()?;
    let (file, nothing) = (at.file(b"file")?, at.name(b"nothing")?);
    for (a, b, error) in [
        (&*file, at.dir(), ENOTDIR),
        (at.dir(), &*file, ENOTDIR),
        (&*nothing, at.dir(), ENOENT),
        (at.dir(), &*nothing, ENOENT),
    ] {
        ensure_eq!(RenameLock::new(a, b).err(), Some(error));
    }
    Ok(())
}

fn two_file_systems_are_not_locked_together() -> Outcome {
    let [one, other] = Scratch::on_each()?;
    ensure_eq!(RenameLock::new(one.dir(), other.dir()).err(), Some(EXDEV));
    Ok(())
}

fn names_of_other_directories_are_refused() -> Outcome {
    for at in Scratch::on_each()? {
        let sub = at.mkdir(b"sub")?;
        let (file, nothing) = (at.file(b"file")?, at.name(b"nothing")?);
        let write = at.mount().want_write()?;
        // From `sub`, where the file is not; and to `sub`, where the other name is not.
        let lock = RenameLock::new(at.dir(), &sub)?;
        let from = (
            lock.rename(&write, &file, &nothing),
            lock.may_rename(&write, &file, &nothing),
        );
        drop(lock);
        let lock = RenameLock::new(&sub, at.dir())?;
        let to = (
            lock.rename(&write, &file, &nothing),
            lock.may_rename(&write, &file, &nothing),
        );
        drop(lock);
        ensure_eq!(from, (Err(ESTALE), Err(ESTALE)));
        ensure_eq!(to, (Err(ESTALE), Err(ESTALE)));
        ensure!(file.is_child_of(at.dir()) && nothing.is_negative());
    }
    Ok(())
}

fn nothing_is_not_moved() -> Outcome {
    for at in Scratch::on_each()? {
        let (nothing, target) = (at.name(b"nothing")?, at.name(b"target")?);
        let write = at.mount().want_write()?;
        let lock = RenameLock::new(at.dir(), at.dir())?;
        let refused = lock.rename(&write, &nothing, &target);
        drop(lock);
        ensure_eq!(refused, Err(ENOENT));
    }
    Ok(())
}

fn what_has_no_name_is_not_moved() -> Outcome {
    for at in Scratch::on_each()? {
        let gone = at.file(b"gone")?;
        let nameless = at.nameless()?;
        let (kept, target) = (at.file(b"kept")?, at.name(b"target")?);
        let write = at.mount().want_write()?;
        at.dir().lock_as_parent()?.unlink(&write, &gone)?;
        let lock = RenameLock::new(at.dir(), at.dir())?;
        let refused = [
            lock.rename(&write, &gone, &target),
            lock.rename(&write, nameless.dentry(), &target),
            lock.rename(&write, &kept, &gone),
        ];
        drop(lock);
        ensure_eq!(refused, [Err(ESTALE); 3]);
        ensure!(!kept.is_unhashed() && target.is_negative());
    }
    Ok(())
}

fn no_loop_is_tied() -> Outcome {
    for at in Scratch::on_each()? {
        let sub = at.mkdir(b"sub")?;
        let other = at.mkdir(b"other")?;
        let write = at.mount().want_write()?;
        // `sub` into itself.
        let lock = RenameLock::new(&sub, at.dir())?;
        let inside = lock.lookup_in_first(b"inside")?;
        let is_ancestor = (lock.ancestor_is(&sub), lock.ancestor_is(&other));
        let refused = lock.rename(&write, &sub, &inside);
        drop(lock);
        ensure_eq!(is_ancestor, (true, false));
        ensure_eq!(refused, Err(EINVAL));
        // What is in `sub` over `sub` itself.
        let locked = sub.lock_as_parent()?;
        let made = locked.mkdir(&write, &inside, 0o755);
        drop(locked);
        made?;
        let lock = RenameLock::new(at.dir(), &sub)?;
        let refused = lock.rename(&write, &inside, &sub);
        drop(lock);
        ensure_eq!(refused, Err(EINVAL));
        ensure!(sub.is_child_of(at.dir()) && inside.is_child_of(&sub));
    }
    Ok(())
}

fn a_directory_that_is_not_empty_is_not_replaced() -> Outcome {
    for at in Scratch::on_each()? {
        let (full, empty, third) = (at.mkdir(b"full")?, at.mkdir(b"empty")?, at.mkdir(b"third")?);
        let write = at.mount().want_write()?;
        let locked = full.lock_as_parent()?;
        let child = locked.lookup(b"child")?;
        let made = locked.mkdir(&write, &child, 0o755);
        drop(locked);
        made?;
        let lock = RenameLock::new(at.dir(), at.dir())?;
        let over_full = lock.rename(&write, &third, &full);
        let over_empty = lock.rename(&write, &third, &empty);
        let dead = (lock.is_dead(&empty), lock.is_dead(&third));
        drop(lock);
        ensure_eq!(over_full, Err(kernel_ext_enotempty()));
        ensure_eq!(over_empty, Ok(()));
        ensure_eq!(dead, (true, false));
        // Nothing can be made in a directory that is dead.
        let locked = empty.lock_as_parent()?;
        let found = locked.lookup(b"child").err();
        drop(locked);
        ensure_eq!(found, Some(ENOENT));
    }
    Ok(())
}

/// ENOTEMPTY, which neither `kernel` nor `kernel_ext` names.
fn kernel_ext_enotempty() -> Error {
    kernel_ext::errno::error(-39)
}

fn the_mark_of_a_child_is_cleared() -> Outcome {
    let at = Scratch::on_tmpfs()?;
    let (file, nothing) = (at.file(b"file")?, at.name(b"nothing")?);
    ensure!(file
        .inode()
        .is_some_and(|inode| inode.lock().mark_kernel_file()));
    let lock = RenameLock::new(at.dir(), at.dir())?;
    lock.clear_kernel_file(&file);
    lock.clear_kernel_file(&nothing);
    drop(lock);
    ensure!(file.inode().is_some_and(|inode| !inode.is_kernel_file()));
    Ok(())
}

fn the_mark_of_a_locked_directory_is_cleared() -> Outcome {
    let at = Scratch::on_tmpfs()?;
    let sub = at.mkdir(b"sub")?;
    for marked in [&*sub, at.dir()] {
        ensure!(marked
            .inode()
            .is_some_and(|inode| inode.lock().mark_kernel_file()));
        let lock = RenameLock::new(&sub, at.dir())?;
        lock.clear_kernel_file(marked);
        drop(lock);
        ensure!(marked.inode().is_some_and(|inode| !inode.is_kernel_file()));
    }
    Ok(())
}
