// SPDX-License-Identifier: GPL-2.0

//! `kext::cred`: acting as somebody else, for a while.

use crate::scratch::Scratch;
use kernel::prelude::*;
use kext::cred::{self, NewCred};
use kext::errno::EOPNOTSUPP;
use kext::sync::Completion;
use kunit::{acts_with, ensure, ensure_eq, owner, set_owner, skip, spawn, Outcome};

kunit::suite!(
    "kext_cred",
    [
        credentials_are_in_force_until_the_guard_goes,
        guards_nest,
        another_task_acts_as_before,
        credentials_outlive_the_one_who_made_them,
        files_are_made_for_the_owner_of_another,
        a_copy_is_of_what_is_in_force,
        the_kernel_may_administer_the_system,
        without_a_security_module_there_are_no_contexts,
    ]
);

const SOMEBODY: u32 = 1234;

fn credentials_are_in_force_until_the_guard_goes() -> Outcome {
    let cred = NewCred::of_kernel()?.publish();
    for _ in 0..2 {
        ensure!(!acts_with(&cred));
        let guard = cred.override_current();
        ensure!(acts_with(&cred));
        drop(guard);
    }
    ensure!(!acts_with(&cred));
    Ok(())
}

fn guards_nest() -> Outcome {
    let outer = NewCred::of_kernel()?.publish();
    let inner = NewCred::of_current()?.publish();
    let outer_guard = outer.override_current();
    let inner_guard = inner.override_current();
    ensure!(acts_with(&inner));
    let again = outer.override_current();
    ensure!(acts_with(&outer));
    drop(again);
    ensure!(acts_with(&inner));
    drop(inner_guard);
    ensure!(acts_with(&outer));
    drop(outer_guard);
    ensure!(!acts_with(&outer) && !acts_with(&inner));
    Ok(())
}

fn another_task_acts_as_before() -> Outcome {
    let cred = NewCred::of_kernel()?.publish();
    let end = kernel::sync::Arc::pin_init(Completion::new(), GFP_KERNEL)?;
    let (theirs, wait) = (cred.clone(), end.clone());
    let thread = spawn(move || {
        let _guard = theirs.override_current();
        let acts = acts_with(&theirs);
        let _ = wait.wait_killable();
        acts && acts_with(&theirs)
    })?;
    thread.wait_until_killably_asleep()?;
    ensure!(!acts_with(&cred));
    end.complete_all();
    ensure!(thread.join()?);
    Ok(())
}

fn credentials_outlive_the_one_who_made_them() -> Outcome {
    let cred = NewCred::of_kernel()?.publish();
    let copy = cred.clone();
    let guard = copy.override_current();
    drop(cred);
    ensure!(acts_with(&copy));
    drop(guard);
    ensure!(!acts_with(&copy));
    Ok(())
}

fn files_are_made_for_the_owner_of_another() -> Outcome {
    for at in Scratch::on_each()? {
        let model = at.file(b"model")?;
        set_owner(&model, SOMEBODY)?;
        let mut cred = NewCred::of_kernel()?;
        if let Some(inode) = model.inode() {
            ensure_eq!(owner(inode), SOMEBODY);
            cred.create_files_as(inode)?;
        }
        let cred = cred.publish();
        // The directory is open to everybody but its owner's alone to write in.
        set_owner(at.dir(), SOMEBODY)?;
        let guard = cred.override_current();
        let theirs = at.nameless();
        drop(guard);
        ensure_eq!(owner(theirs?.inode()), SOMEBODY);
        ensure_eq!(owner(at.nameless()?.inode()), 0);
    }
    Ok(())
}

fn a_copy_is_of_what_is_in_force() -> Outcome {
    let at = Scratch::on_tmpfs()?;
    set_owner(at.dir(), SOMEBODY)?;
    let mut cred = NewCred::of_kernel()?;
    if let Some(inode) = at.dir().inode() {
        cred.create_files_as(inode)?;
    }
    let cred = cred.publish();
    let guard = cred.override_current();
    let copy = NewCred::of_current();
    drop(guard);
    let copy = copy?.publish();
    ensure!(!acts_with(&copy));
    let guard = copy.override_current();
    let file = at.nameless();
    drop(guard);
    ensure_eq!(owner(file?.inode()), SOMEBODY);
    Ok(())
}

fn the_kernel_may_administer_the_system() -> Outcome {
    ensure!(cred::capable_sys_admin());
    let kernel = NewCred::of_kernel()?.publish();
    let guard = kernel.override_current();
    let capable = cred::capable_sys_admin();
    drop(guard);
    ensure!(capable);
    Ok(())
}

fn without_a_security_module_there_are_no_contexts() -> Outcome {
    if cfg!(CONFIG_SECURITY) {
        skip!("this kernel has security modules");
    }
    let context = kernel::c_str!("system_u:system_r:cachefiles_kernel_t:s0");
    ensure_eq!(cred::secctx_to_secid(context), Err(EOPNOTSUPP));
    Ok(())
}
