// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::cred`: acting as somebody else, for a while.

use crate::scratch::Scratch;
use kernel::prelude::*;
use kernel_ext::cred::{self, NewCredential, User};
use kernel_ext::errno::EOPNOTSUPP;
use kernel_ext::sync::Completion;
use kunit::{acts_with, ensure, ensure_eq, owner, set_owner, skip, spawn, Outcome};

kunit::suite!(
    "kernel_ext_cred",
    [
        credentials_are_in_force_for_a_call,
        overrides_nest,
        an_early_return_ends_the_override,
        another_task_acts_as_before,
        credentials_outlive_the_one_who_made_them,
        files_are_made_for_the_owner_of_another,
        a_copy_is_of_what_is_in_force,
        the_service_of_root_may_administer_the_system,
        without_a_security_module_there_are_no_contexts,
        a_user_is_the_same_whatever_files_are_made_for,
    ]
);

const SOMEBODY: u32 = 1234;

fn credentials_are_in_force_for_a_call() -> Outcome {
    let cred = NewCredential::for_service()?.publish();
    for _ in 0..2 {
        ensure!(!acts_with(&cred));
        ensure!(cred.with(|| acts_with(&cred)));
    }
    ensure!(!acts_with(&cred));
    Ok(())
}

fn overrides_nest() -> Outcome {
    let outer = NewCredential::for_service()?.publish();
    let inner = NewCredential::of_current()?.publish();
    outer.with(|| -> Outcome {
        inner.with(|| -> Outcome {
            ensure!(acts_with(&inner));
            ensure!(outer.with(|| acts_with(&outer)));
            ensure!(acts_with(&inner));
            Ok(())
        })?;
        ensure!(acts_with(&outer));
        Ok(())
    })?;
    ensure!(!acts_with(&outer) && !acts_with(&inner));
    Ok(())
}

fn an_early_return_ends_the_override() -> Outcome {
    let cred = NewCredential::for_service()?.publish();
    let refused: Result = cred.with(|| Err(EOPNOTSUPP));
    ensure_eq!(refused, Err(EOPNOTSUPP));
    ensure!(!acts_with(&cred));
    Ok(())
}

fn another_task_acts_as_before() -> Outcome {
    let cred = NewCredential::for_service()?.publish();
    let end = kernel::sync::Arc::pin_init(Completion::new(), GFP_KERNEL)?;
    let (theirs, wait) = (cred.clone(), end.clone());
    let thread = spawn(move || {
        theirs.with(|| {
            let acts = acts_with(&theirs);
            let _ = wait.wait_killable();
            acts && acts_with(&theirs)
        })
    })?;
    thread.wait_until_killably_asleep()?;
    ensure!(!acts_with(&cred));
    end.complete_all();
    ensure!(thread.join()?);
    Ok(())
}

fn credentials_outlive_the_one_who_made_them() -> Outcome {
    let cred = NewCredential::for_service()?.publish();
    let copy = cred.clone();
    ensure!(copy.with(|| {
        drop(cred);
        acts_with(&copy)
    }));
    ensure!(!acts_with(&copy));
    Ok(())
}

fn files_are_made_for_the_owner_of_another() -> Outcome {
    for at in Scratch::on_each()? {
        let model = at.file(b"model")?;
        set_owner(&model, SOMEBODY)?;
        let mut cred = NewCredential::for_service()?;
        if let Some(inode) = model.inode() {
            ensure_eq!(owner(inode), SOMEBODY);
            cred.create_files_as(inode)?;
        }
        let cred = cred.publish();
        // The directory is open to everybody but its owner's alone to write in.
        set_owner(at.dir(), SOMEBODY)?;
        let theirs = cred.with(|| at.nameless());
        ensure_eq!(owner(theirs?.inode()), SOMEBODY);
        ensure_eq!(owner(at.nameless()?.inode()), 0);
    }
    Ok(())
}

fn a_copy_is_of_what_is_in_force() -> Outcome {
    let at = Scratch::on_tmpfs()?;
    set_owner(at.dir(), SOMEBODY)?;
    let mut cred = NewCredential::for_service()?;
    if let Some(inode) = at.dir().inode() {
        cred.create_files_as(inode)?;
    }
    let cred = cred.publish();
    let copy = cred.with(NewCredential::of_current)?.publish();
    ensure!(!acts_with(&copy));
    let file = copy.with(|| at.nameless());
    ensure_eq!(owner(file?.inode()), SOMEBODY);
    Ok(())
}

fn the_service_of_root_may_administer_the_system() -> Outcome {
    ensure!(cred::capable_sys_admin());
    let service = NewCredential::for_service()?.publish();
    ensure!(service.with(cred::capable_sys_admin));
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

fn a_user_is_the_same_whatever_files_are_made_for() -> Outcome {
    let user = User::current()?;
    ensure_eq!(User::current()?, user);
    let service = NewCredential::for_service()?.publish();
    ensure_eq!(service.with(User::current)?, user);
    let thread = spawn(User::current)?;
    ensure_eq!(thread.join()??, user);
    Ok(())
}
