// SPDX-License-Identifier: GPL-2.0

//! `fscache::Cookie` and what is done with one: look-up, operations, withdrawal.

use crate::scratch::Scratch;
use crate::store::{Bench, Plan};
use fscache::{Cookie, CookieFlag};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::errno::ENOBUFS;
use kunit::{ensure, ensure_eq, users_of_file, wait_until, Buffer, Outcome, Wanted};

kunit::suite!(
    "fscache_cookie",
    [
        a_look_up_is_told_what_is_wanted,
        long_keys_and_data_are_told_in_full,
        flags_are_set_and_cleared_one_by_one,
        the_size_is_what_was_set_last,
        an_object_goes_when_its_cookie_is_given_up,
        what_is_retired_is_told_so,
        what_is_not_found_is_not_cached,
        an_object_of_a_look_up_that_failed_is_withdrawn,
        an_object_in_use_can_be_withdrawn,
        an_invalidation_is_counted,
        an_invalidation_that_is_not_resumed_has_failed,
        one_who_writes_is_told_once,
        a_read_is_told_to_its_end_once,
        an_operation_that_is_refused_does_not_begin,
        an_operation_gives_up_its_file_at_the_end,
    ]
);

const WANTED: Wanted<'_> = Wanted {
    key: b"key",
    aux: b"aux",
    size: 12345,
    has_size_of_cache: false,
};

/// The reason for which an inspection ended, if it has not passed.
fn inspected(bench: &Bench) -> Outcome {
    wait_until("the cookie to be looked up", || {
        bench.cache.inspected.as_ref().is_some()
    })?;
    match bench.cache.inspected.as_ref() {
        Some(Err(stop)) => Err(stop.clone()),
        _ => Ok(()),
    }
}

fn inspect_as(wanted: Wanted<'_>, inspect: fn(&Cookie) -> Outcome) -> Outcome {
    let bench = Bench::inspecting(Plan::Nothing, inspect)?;
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(wanted)?;
    let in_use = cookie.use_for(false);
    inspected(&bench)?;
    drop(in_use);
    drop(cookie);
    drop(volume);
    bench.wait_until_empty()
}

fn a_look_up_is_told_what_is_wanted() -> Outcome {
    inspect_as(WANTED, |cookie| {
        ensure_eq!(cookie.key(), b"key");
        ensure_eq!(*cookie.aux(), *b"aux");
        ensure_eq!(cookie.object_size(), 12345);
        ensure!(!cookie.wants_cache_size());
        ensure!(!cookie.test_flag(CookieFlag::Retired));
        ensure!(!cookie.test_flag(CookieFlag::LocalWrite));
        Ok(())
    })?;
    let wanted = Wanted {
        aux: b"",
        has_size_of_cache: true,
        ..WANTED
    };
    inspect_as(wanted, |cookie| {
        ensure_eq!(*cookie.aux(), *b"");
        ensure!(cookie.wants_cache_size());
        Ok(())
    })
}

fn long_keys_and_data_are_told_in_full() -> Outcome {
    let wanted = Wanted {
        key: &[0xfe; 255],
        aux: &[0xef; 255],
        size: i64::MAX,
        ..WANTED
    };
    inspect_as(wanted, |cookie| {
        ensure_eq!(cookie.key().len(), 255);
        ensure!(cookie.key().iter().all(|&byte| byte == 0xfe));
        ensure_eq!(cookie.aux().len(), 255);
        ensure!(cookie.aux().iter().all(|&byte| byte == 0xef));
        ensure_eq!(cookie.object_size(), i64::MAX as u64);
        Ok(())
    })
}

fn flags_are_set_and_cleared_one_by_one() -> Outcome {
    inspect_as(WANTED, |cookie| {
        let (one, other) = (CookieFlag::NeedsUpdate, CookieFlag::HaveData);
        ensure!(!cookie.test_flag(one) && !cookie.test_flag(other));
        cookie.set_flag(one);
        ensure!(cookie.test_flag(one) && !cookie.test_flag(other));
        cookie.set_flag(other);
        cookie.clear_flag(one);
        ensure!(!cookie.test_flag(one) && cookie.test_flag(other));
        ensure!(cookie.test_and_clear_flag(other));
        ensure!(!cookie.test_and_clear_flag(other) && !cookie.test_flag(other));
        Ok(())
    })
}

fn the_size_is_what_was_set_last() -> Outcome {
    inspect_as(WANTED, |cookie| {
        for size in [0, 1, 1 << 40, i64::MAX as u64] {
            cookie.set_object_size(size);
            ensure_eq!(cookie.object_size(), size);
        }
        Ok(())
    })
}

fn an_object_goes_when_its_cookie_is_given_up() -> Outcome {
    let bench = Bench::new(Plan::Nothing)?;
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(WANTED)?;
    let in_use = cookie.use_for(false);
    wait_until("the cookie to be active", || cookie.is_active())?;
    // Volume and object.
    ensure_eq!(bench.cache.live.alive(), 2);
    drop(in_use);
    ensure_eq!(bench.cache.withdrawn.get(), 0);
    drop(cookie);
    bench.cache.cookie.set(None);
    wait_until("the object to go", || bench.cache.live.alive() == 1)?;
    ensure_eq!(bench.cache.withdrawn.get(), 1);
    ensure_eq!(bench.cache.withdrawn_retired.get(), 0);
    Ok(())
}

fn what_is_retired_is_told_so() -> Outcome {
    let bench = Bench::new(Plan::Nothing)?;
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(WANTED)?;
    drop(cookie.use_for(false));
    wait_until("the cookie to be active", || cookie.is_active())?;
    cookie.retire();
    drop(cookie);
    wait_until("the object to be withdrawn", || {
        bench.cache.withdrawn.get() == 1
    })?;
    ensure_eq!(bench.cache.withdrawn_retired.get(), 1);
    Ok(())
}

fn what_is_not_found_is_not_cached() -> Outcome {
    let bench = Bench::new(Plan::FindNothing)?;
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(WANTED)?;
    let in_use = cookie.use_for(false);
    ensure_eq!(in_use.begin_read().err(), Some(ENOBUFS));
    ensure_eq!(bench.cache.looked_up.get(), 1);
    ensure!(cookie.is_quiescent());
    drop(in_use);
    ensure_eq!(bench.cache.withdrawn.get(), 0);
    Ok(())
}

fn an_object_of_a_look_up_that_failed_is_withdrawn() -> Outcome {
    let bench = Bench::new(Plan::FailLater)?;
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(WANTED)?;
    let in_use = cookie.use_for(false);
    ensure_eq!(in_use.begin_read().err(), Some(ENOBUFS));
    wait_until("the object to be withdrawn", || {
        bench.cache.withdrawn.get() == 1
    })?;
    bench.cache.cookie.set(None);
    wait_until("the object to go", || bench.cache.live.alive() == 1)?;
    ensure_eq!(bench.cache.looked_up.get(), 1);
    drop(in_use);
    Ok(())
}

fn an_object_in_use_can_be_withdrawn() -> Outcome {
    let bench = Bench::new(Plan::Nothing)?;
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(WANTED)?;
    let in_use = cookie.use_for(false);
    wait_until("the cookie to be active", || cookie.is_active())?;
    let reading = in_use.begin_read()?;
    let kept = bench.cache.cookie.get();
    ensure!(kept.is_some());
    if let Some(kept) = &kept {
        kept.withdraw();
    }
    // Not while somebody reads.
    kernel_ext::task::synchronize_rcu();
    ensure_eq!(bench.cache.withdrawn.get(), 0);
    drop(reading);
    wait_until("the object to be withdrawn", || {
        bench.cache.withdrawn.get() == 1
    })?;
    wait_until("the cookie to be quiescent", || cookie.is_quiescent())?;
    ensure_eq!(in_use.begin_read().err(), Some(ENOBUFS));
    drop(in_use);
    Ok(())
}

fn an_invalidation_is_counted() -> Outcome {
    let bench = Bench::new(Plan::Nothing)?;
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(WANTED)?;
    let in_use = cookie.use_for(false);
    wait_until("the cookie to be active", || cookie.is_active())?;
    let kept = bench.cache.cookie.get();
    let count = || kept.as_ref().map(|kept| kept.inval_counter());
    ensure_eq!(count(), Some(0));
    for turn in 1..=3 {
        in_use.invalidate(100);
        ensure_eq!(count(), Some(turn));
        wait_until("the object to be invalidated", || {
            bench.cache.invalidated.get() == turn
        })?;
        wait_until("the cookie to be active again", || cookie.is_active())?;
    }
    ensure_eq!(bench.cache.withdrawn.get(), 0);
    drop(in_use);
    Ok(())
}

fn an_invalidation_that_is_not_resumed_has_failed() -> Outcome {
    let bench = Bench::new(Plan::ForgetToResume)?;
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(WANTED)?;
    let in_use = cookie.use_for(false);
    wait_until("the cookie to be active", || cookie.is_active())?;
    in_use.invalidate(100);
    wait_until("the object to be invalidated", || {
        bench.cache.invalidated.get() > 0
    })?;
    wait_until("the cookie to be out of use", || {
        in_use.begin_read().err() == Some(ENOBUFS)
    })?;
    drop(in_use);
    drop(cookie);
    drop(volume);
    bench.wait_until_empty()?;
    // Once: fscache has not tried again.
    ensure_eq!(bench.cache.invalidated.get(), 1);
    ensure_eq!(bench.cache.withdrawn.get(), 1);
    Ok(())
}

fn one_who_writes_is_told_once() -> Outcome {
    let bench = Bench::new(Plan::Nothing)?;
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(WANTED)?;
    let reader = cookie.use_for(false);
    wait_until("the cookie to be active", || cookie.is_active())?;
    ensure_eq!(bench.cache.prepared.get(), 0);
    let first = cookie.use_for(true);
    wait_until("the back end to be told", || {
        bench.cache.prepared.get() == 1
    })?;
    let second = cookie.use_for(true);
    kernel_ext::task::synchronize_rcu();
    ensure_eq!(bench.cache.prepared.get(), 1);
    drop((reader, first, second));
    Ok(())
}

fn a_read_is_told_to_its_end_once() -> Outcome {
    let bench = Bench::new(Plan::Nothing)?;
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(WANTED)?;
    let in_use = cookie.use_for(false);
    let reading = in_use.begin_read()?;
    let read = reading.read(0, Buffer::new(2, 0xee)?)?;
    ensure_eq!((read.returned, read.result), (0, 8192));
    ensure_eq!((read.times, read.was_async), (1, false));
    ensure!(read.buffer.is_all(0, 8192, 0));
    ensure_eq!(bench.cache.ended.get(), 0);
    drop(reading);
    ensure_eq!(bench.cache.ended.get(), 1);
    drop(in_use);
    Ok(())
}

fn an_operation_that_is_refused_does_not_begin() -> Outcome {
    let bench = Bench::new(Plan::RefuseOperation)?;
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(WANTED)?;
    let in_use = cookie.use_for(false);
    ensure_eq!(in_use.begin_read().err(), Some(ENOBUFS));
    ensure!(cookie.is_active());
    ensure_eq!(bench.cache.ended.get(), 0);
    drop(in_use);
    Ok(())
}

fn an_operation_gives_up_its_file_at_the_end() -> Outcome {
    let at = Scratch::on_tmpfs()?;
    let file = at.nameless()?;
    let before = users_of_file(&file);
    let bench = Bench::new(Plan::Nothing)?;
    bench
        .cache
        .file
        .set(Some(Arc::new(file.clone(), GFP_KERNEL)?));
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(WANTED)?;
    let in_use = cookie.use_for(false);
    let reading = in_use.begin_read()?;
    // Ours, the back end's, and that of the operation, which was handed two.
    ensure_eq!(users_of_file(&file), before + 2);
    drop(reading);
    ensure_eq!(users_of_file(&file), before + 1);
    bench.cache.file.set(None);
    ensure_eq!(users_of_file(&file), before);
    drop(in_use);
    Ok(())
}
