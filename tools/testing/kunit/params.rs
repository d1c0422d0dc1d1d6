// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::params`: what the administrator sets.

use core::sync::atomic::{AtomicUsize, Ordering};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::ARef;
use kernel_ext::fs::File;
use kernel_ext::params::{self, ErrorInjection};
use kunit::{ensure, ensure_eq, skip, Outcome};

kunit::suite!(
    "kernel_ext_params",
    [
        the_debug_mask_is_what_was_set_last,
        errors_are_injected_as_the_sysctl_says,
        nothing_is_injected_without_the_sysctl,
        the_sysctl_is_registered_once,
        of_many_who_register_at_a_time_one_does,
        the_sysctl_goes_with_its_registration,
    ]
);

fn the_debug_mask_is_what_was_set_last() -> Outcome {
    let before = params::debug_mask();
    for mask in [1, 0, u32::MAX, before] {
        params::set_debug_mask(mask);
        ensure_eq!(params::debug_mask(), mask);
    }
    Ok(())
}

fn register() -> Outcome<ErrorInjection> {
    if !cfg!(CONFIG_CACHEFILES_ERROR_INJECTION) {
        skip!("this kernel has no CONFIG_CACHEFILES_ERROR_INJECTION");
    }
    if sysctl().is_ok() {
        skip!("the driver is loaded, and has the sysctl");
    }
    Ok(ErrorInjection::register()?)
}

fn sysctl() -> Result<ARef<File>> {
    kunit::open(kernel::c_str!("/proc/sys/cachefiles/error_injection"))
}

fn injected() -> [Result; 3] {
    [
        params::injected_read_error(),
        params::injected_write_error(),
        params::injected_remove_error(),
    ]
}

fn errors_are_injected_as_the_sysctl_says() -> Outcome {
    let registered = register()?;
    let cases: [(&[u8], [Result; 3]); 5] = [
        (b"0\n", [Ok(()); 3]),
        (b"1\n", [Ok(()), Err(ENOSPC), Ok(())]),
        (b"2\n", [Err(EIO); 3]),
        (b"3\n", [Err(EIO); 3]),
        (b"0\n", [Ok(()); 3]),
    ];
    for (text, expected) in cases {
        kunit::write_to(&*sysctl()?, text, 0)?;
        ensure_eq!(injected(), expected);
    }
    drop(registered);
    Ok(())
}

fn nothing_is_injected_without_the_sysctl() -> Outcome {
    ensure_eq!(injected(), [Ok(()); 3]);
    Ok(())
}

fn the_sysctl_is_registered_once() -> Outcome {
    let registered = register()?;
    ensure_eq!(ErrorInjection::register().err(), Some(EBUSY));
    // The first one is not harmed by it.
    ensure_eq!(sysctl().err(), None);
    drop(registered);
    Ok(())
}

fn of_many_who_register_at_a_time_one_does() -> Outcome {
    const THREADS: usize = 4;
    drop(register()?);
    for _ in 0..50 {
        let turn = Arc::new(AtomicUsize::new(0), GFP_KERNEL)?;
        let mut threads = KVec::with_capacity(THREADS, GFP_KERNEL)?;
        for _ in 0..THREADS {
            let turn = turn.clone();
            let thread = kunit::spawn(move || {
                turn.fetch_add(1, Ordering::SeqCst);
                while turn.load(Ordering::SeqCst) < THREADS {
                    kernel_ext::task::cond_resched();
                }
                // Those who come when one has gone may register as well.
                matches!(ErrorInjection::register().err(), None | Some(EBUSY))
            })?;
            threads.push(thread, GFP_KERNEL)?;
        }
        for thread in threads {
            ensure!(thread.join()?);
        }
        // It is nobody's by now; one that was lost would be there for ever.
        ensure_eq!(sysctl().err(), Some(ENOENT));
    }
    Ok(())
}

fn the_sysctl_goes_with_its_registration() -> Outcome {
    for _ in 0..2 {
        let registered = register()?;
        ensure_eq!(sysctl().err(), None);
        drop(registered);
        ensure_eq!(sysctl().err(), Some(ENOENT));
    }
    Ok(())
}
