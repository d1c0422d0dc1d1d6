// SPDX-License-Identifier: GPL-2.0

//! `fscache::Operation`: how an end is told to EROFS, which hears of it in two ways.

use crate::store::{Bench, Plan};
use kernel::prelude::*;
use kernel_ext::errno::ENODATA;
use kunit::{ensure, ensure_eq, Buffer, Outcome, Wanted};

kunit::suite!(
    "fscache_operation",
    [
        a_read_leaves_nothing_in_the_iterator,
        a_read_that_fails_is_told_once_and_returned,
        over_a_list_of_pages_a_failure_is_not_returned,
        an_operation_that_fails_when_it_is_prepared_fails_its_read,
        an_operation_may_begin_to_fail,
        a_deferred_read_is_queued_and_told_once,
    ]
);

const WANTED: Wanted<'_> = Wanted {
    key: b"key",
    aux: b"aux",
    size: 12345,
    has_size_of_cache: false,
};

fn a_read_leaves_nothing_in_the_iterator() -> Outcome {
    let bench = Bench::new(Plan::Nothing)?;
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(WANTED)?;
    let in_use = cookie.use_for(false);
    let reading = in_use.begin_read()?;
    for read in [
        reading.read(0, Buffer::new(2, 0xee)?)?,
        reading.read_pages(0, Buffer::new(2, 0xee)?)?,
    ] {
        ensure_eq!((read.returned, read.left, read.result), (0, 0, 8192));
        ensure_eq!((read.times, read.was_async), (1, false));
        ensure!(read.buffer.is_all(0, 8192, 0));
    }
    Ok(())
}

fn a_read_that_fails_is_told_once_and_returned() -> Outcome {
    let bench = Bench::new(Plan::FailRead)?;
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(WANTED)?;
    let in_use = cookie.use_for(false);
    let read = in_use.begin_read()?.read(0, Buffer::new(1, 0xee)?)?;
    let errno = EIO.to_errno();
    ensure_eq!((read.returned, read.result), (errno, errno as isize));
    ensure_eq!((read.times, read.left, read.was_async), (1, 0, false));
    ensure!(read.buffer.is_all(0, 4096, 0xee));
    Ok(())
}

fn over_a_list_of_pages_a_failure_is_not_returned() -> Outcome {
    let bench = Bench::new(Plan::FailRead)?;
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(WANTED)?;
    let in_use = cookie.use_for(false);
    let read = in_use.begin_read()?.read_pages(0, Buffer::new(1, 0xee)?)?;
    ensure_eq!((read.returned, read.result), (0, EIO.to_errno() as isize));
    ensure_eq!((read.times, read.left, read.was_async), (1, 0, false));
    Ok(())
}

fn an_operation_that_fails_when_it_is_prepared_fails_its_read() -> Outcome {
    reads_fail(Plan::Nothing, ENODATA)
}

fn an_operation_may_begin_to_fail() -> Outcome {
    reads_fail(Plan::FailOperation, EXDEV)
}

/// Whether operations fail their reads, as EROFS has to hear of it.
#[track_caller]
fn reads_fail(plan: Plan, error: Error) -> Outcome {
    let bench = Bench::new(plan)?;
    let volume = bench.volume(&[])?;
    let cookie = volume.cookie(WANTED)?;
    let in_use = cookie.use_for(false);
    let errno = error.to_errno();
    for is_list in [false, true] {
        let reading = in_use.begin_read()?;
        // It fails, and stays so.
        for _ in 0..2 {
            ensure_eq!(reading.prepare(0, 8192)?, (true, 8192));
        }
        let buffer = Buffer::new(2, 0xee)?;
        let read = if is_list {
            reading.read_pages(0, buffer)?
        } else {
            reading.read(0, buffer)?
        };
        let returned = if is_list { 0 } else { errno };
        ensure_eq!((read.returned, read.result), (returned, errno as isize));
        ensure_eq!((read.times, read.left), (1, 0));
        ensure!(read.buffer.is_all(0, 8192, 0xee));
        let before = bench.cache.ended.get();
        drop(reading);
        ensure_eq!(bench.cache.ended.get(), before + 1);
    }
    Ok(())
}

fn a_deferred_read_is_queued_and_told_once() -> Outcome {
    let queued = -529; // EIOCBQUEUED
    let failed = EIO.to_errno() as isize;
    for (plan, result, filler) in [(Plan::DeferRead, 8192, 0), (Plan::DropRead, failed, 0xee)] {
        let bench = Bench::new(plan)?;
        let volume = bench.volume(&[])?;
        let cookie = volume.cookie(WANTED)?;
        let in_use = cookie.use_for(false);
        let reading = in_use.begin_read()?;
        for is_list in [false, true] {
            let buffer = Buffer::new(2, 0xee)?;
            let read = if is_list {
                reading.read_pages(0, buffer)?
            } else {
                reading.read(0, buffer)?
            };
            let returned = if is_list { 0 } else { queued };
            ensure_eq!((read.returned, read.result), (returned, result));
            ensure_eq!((read.times, read.left), (1, 0));
            ensure!(read.buffer.is_all(0, 8192, filler));
        }
    }
    Ok(())
}
