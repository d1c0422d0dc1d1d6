// SPDX-License-Identifier: GPL-2.0

//! A real cache, asked for what no file system of this kernel asks for, or not at a moment that a
//! test can choose. It is bound by who inserts the tests, under the tag `kunit-driver`, on an ext4.

use kernel::str::CStr;
use kernel_ext::errno::{ENOBUFS, ENODATA, ESTALE};
use kunit::{
    ensure, ensure_eq, skip, wait_until, Buffer, End, Hole, NetCookie, NetVolume, Outcome, Wanted,
};

kunit::suite!(
    "cachefiles_driver",
    [
        a_hole_in_front_of_data_is_cleared,
        a_hole_is_an_error_where_it_is_not_wanted,
        an_end_that_is_late_is_told_once_and_in_no_interrupt,
        what_is_there_is_told_in_whole_grains,
        a_write_that_tells_nobody_is_done_at_once,
        room_is_made_for_whole_pages,
        what_is_retired_is_gone,
        a_read_of_what_is_invalidated_is_stale,
        what_replaces_the_invalid_is_found_again,
    ]
);

const BLOCK: usize = 4096;
const BLOCKS: usize = 16;

const CACHE: &CStr = kernel::c_str!("kunit-driver");

fn wanted(key: &'static [u8]) -> Wanted<'static> {
    Wanted {
        key,
        aux: b"one",
        size: (BLOCKS * BLOCK) as i64,
        has_size_of_cache: false,
    }
}

fn at(block: usize) -> i64 {
    (block * BLOCK) as i64
}

/// A volume of the real cache; skips where there is none.
fn volume(key: &'static CStr) -> Outcome<NetVolume> {
    let volume = NetVolume::acquire(key, CACHE, &[])?;
    let probe = volume.cookie(wanted(b"probe"))?;
    let in_use = probe.use_for(false);
    wait_until("the cookie to be looked up", || {
        probe.is_active() || probe.is_quiescent()
    })?;
    let is_there = probe.is_active();
    drop(in_use);
    drop(probe);
    if !is_there {
        skip!("no cache of the driver is bound");
    }
    Ok(volume)
}

/// Writes blocks full of a byte.
fn store(cookie: &NetCookie<'_>, block: usize, blocks: usize, fill: u8) -> Outcome {
    let in_use = cookie.use_for(true);
    let writing = in_use.begin_write()?;
    let written = writing.write(at(block), Buffer::new(blocks, fill)?)?;
    ensure_eq!(written.result, (blocks * BLOCK) as isize);
    ensure_eq!(written.times, 1);
    Ok(())
}

fn a_hole_in_front_of_data_is_cleared() -> Outcome {
    let volume = volume(kernel::c_str!("hole"))?;
    let cookie = volume.cookie(wanted(b"file"))?;
    store(&cookie, 3, 2, 7)?;
    let in_use = cookie.use_for(false);
    let reading = in_use.begin_read()?;
    let read = reading.read_over(Hole::Clear, at(1), Buffer::new(4, 0xee)?)?;
    ensure_eq!(read.result, (4 * BLOCK) as isize);
    ensure_eq!(read.times, 1);
    ensure!(read.buffer.is_all(0, 2 * BLOCK, 0));
    ensure!(read.buffer.is_all(2 * BLOCK, 4 * BLOCK, 7));
    // Nothing but a hole.
    let read = reading.read_over(Hole::Clear, at(8), Buffer::new(2, 0xee)?)?;
    ensure_eq!(read.result, (2 * BLOCK) as isize);
    ensure!(read.buffer.is_all(0, 2 * BLOCK, 0));
    Ok(())
}

fn a_hole_is_an_error_where_it_is_not_wanted() -> Outcome {
    let volume = volume(kernel::c_str!("fail"))?;
    let cookie = volume.cookie(wanted(b"file"))?;
    store(&cookie, 4, 1, 7)?;
    let in_use = cookie.use_for(false);
    let reading = in_use.begin_read()?;
    let read = reading.read_over(Hole::Fail, at(0), Buffer::new(2, 0xee)?)?;
    ensure_eq!(read.result, ENODATA.to_errno() as isize);
    ensure_eq!(read.times, 1);
    // With data behind it there is something to be read.
    let read = reading.read_over(Hole::Fail, at(3), Buffer::new(2, 0xee)?)?;
    ensure_eq!(read.result, (2 * BLOCK) as isize);
    ensure!(read.buffer.is_all(0, BLOCK, 0));
    ensure!(read.buffer.is_all(BLOCK, 2 * BLOCK, 7));
    Ok(())
}

/// What is done for a netfs that cannot take an end in an interrupt, with and without memory.
fn an_end_that_is_late_is_told_once_and_in_no_interrupt() -> Outcome {
    let volume = volume(kernel::c_str!("late"))?;
    let cookie = volume.cookie(wanted(b"file"))?;
    store(&cookie, 0, 4, 7)?;
    let in_use = cookie.use_for(false);
    let reading = in_use.begin_read()?;
    for (end, is_awaited) in [(End::Late, false), (End::Awaited, true)] {
        for _ in 0..20 {
            let read = reading.read_to_end(end, at(0), Buffer::new(4, 0xee)?)?;
            ensure_eq!(read.result, (4 * BLOCK) as isize);
            ensure_eq!((read.times, read.in_interrupt), (1, false));
            ensure!(read.buffer.is_all(0, 4 * BLOCK, 7));
            if is_awaited {
                ensure_eq!((read.returned, read.was_async), (0, false));
                ensure!(read.was_awaited);
            }
        }
        // What fails is told in the same way.
        let read = reading.read_to_end(end, at(8), Buffer::new(2, 0xee)?)?;
        let errno = ENODATA.to_errno();
        ensure_eq!((read.returned, read.result), (errno, errno as isize));
        ensure_eq!((read.times, read.in_interrupt), (1, false));
    }
    Ok(())
}

fn what_is_there_is_told_in_whole_grains() -> Outcome {
    let volume = volume(kernel::c_str!("occupancy"))?;
    let cookie = volume.cookie(wanted(b"file"))?;
    store(&cookie, 3, 4, 7)?;
    let in_use = cookie.use_for(false);
    let reading = in_use.begin_read()?;
    let all = BLOCKS * BLOCK;
    // In blocks: from where, how far, in grains of how many; what is told.
    let told = [
        (0, BLOCKS, 1, Ok((3, 4))),
        (3, 10, 1, Ok((3, 4))),
        (5, 10, 1, Ok((5, 2))),
        // Grains that are data in part are not there.
        (0, BLOCKS, 2, Ok((4, 2))),
        (0, BLOCKS, 4, Err(ENODATA)),
        // Data that goes on behind the range is told as long as the range is.
        (3, 2, 1, Ok((3, 2))),
        (0, 3, 1, Err(ENODATA)),
        (0, 4, 1, Ok((3, 4))),
        (7, 9, 1, Err(ENODATA)),
    ];
    for (start, blocks, grain, expected) in told {
        let seen = reading.occupancy(at(start), blocks * BLOCK, grain * BLOCK);
        let expected = expected.map(|(start, blocks): (usize, usize)| (at(start), blocks * BLOCK));
        ensure_eq!(
            (start, blocks, grain, seen),
            (start, blocks, grain, expected)
        );
    }
    // A grain below the block of the file system is a block.
    ensure_eq!(reading.occupancy(at(0), all, 512), Ok((at(3), 4 * BLOCK)));
    Ok(())
}

fn a_write_that_tells_nobody_is_done_at_once() -> Outcome {
    let volume = volume(kernel::c_str!("untold"))?;
    let cookie = volume.cookie(wanted(b"file"))?;
    let in_use = cookie.use_for(true);
    let writing = in_use.begin_write()?;
    let mut buffer = Buffer::new(2, 7)?;
    ensure_eq!(writing.write_untold(at(1), &mut buffer)?, 0);
    drop(buffer);
    let reading = in_use.begin_read()?;
    let read = reading.read(at(1), Buffer::new(2, 0xee)?)?;
    ensure_eq!(read.result, (2 * BLOCK) as isize);
    ensure!(read.buffer.is_all(0, 2 * BLOCK, 7));
    Ok(())
}

fn room_is_made_for_whole_pages() -> Outcome {
    let volume = volume(kernel::c_str!("room"))?;
    let cookie = volume.cookie(wanted(b"file"))?;
    store(&cookie, 0, 1, 7)?;
    let in_use = cookie.use_for(true);
    let writing = in_use.begin_write()?;
    let all = BLOCKS * BLOCK;
    ensure_eq!(writing.prepare(at(1), BLOCK, all), Ok((at(1), BLOCK)));
    ensure_eq!(writing.prepare(at(1), 1, all), Ok((at(1), BLOCK)));
    ensure_eq!(
        writing.prepare(at(0), BLOCK + 1, all),
        Ok((at(0), 2 * BLOCK))
    );
    ensure_eq!(
        writing.prepare(at(1) + 512, BLOCK, all).err(),
        Some(ENOBUFS)
    );
    ensure_eq!(writing.prepare(at(0), all + 1, all).err(), Some(ENOBUFS));
    Ok(())
}

/// Whether a cookie of this key finds the block that was stored.
fn finds(volume: &NetVolume, key: &'static [u8]) -> Outcome<bool> {
    let cookie = volume.cookie(wanted(key))?;
    let in_use = cookie.use_for(false);
    let reading = in_use.begin_read()?;
    Ok(reading.occupancy(at(0), BLOCKS * BLOCK, BLOCK).is_ok())
}

fn what_is_retired_is_gone() -> Outcome {
    let volume = volume(kernel::c_str!("retired"))?;
    for (key, retires) in [(&b"kept"[..], false), (&b"retired"[..], true)] {
        let cookie = volume.cookie(wanted(key))?;
        store(&cookie, 0, 1, 7)?;
        drop(cookie);
        // It has its name now.
        ensure!(finds(&volume, key)?);
        let cookie = volume.cookie(wanted(key))?;
        let in_use = cookie.use_for(false);
        wait_until("the cookie to be active", || cookie.is_active())?;
        drop(in_use);
        if retires {
            cookie.retire();
        }
        drop(cookie);
        ensure_eq!(finds(&volume, key)?, !retires);
    }
    Ok(())
}

fn a_read_of_what_is_invalidated_is_stale() -> Outcome {
    let volume = volume(kernel::c_str!("stale"))?;
    let cookie = volume.cookie(wanted(b"file"))?;
    store(&cookie, 0, 1, 7)?;
    let in_use = cookie.use_for(false);
    let reading = in_use.begin_read()?;
    let read = reading.read(at(0), Buffer::new(1, 0xee)?)?;
    ensure_eq!(read.result, BLOCK as isize);
    in_use.invalidate((BLOCKS * BLOCK) as i64);
    let read = reading.read(at(0), Buffer::new(1, 0xee)?)?;
    ensure_eq!(read.result, ESTALE.to_errno() as isize);
    ensure_eq!(read.times, 1);
    Ok(())
}

/// netfs only says that what is there is out of date. That the cookie is to be written down is for
/// the cache to know.
fn what_replaces_the_invalid_is_found_again() -> Outcome {
    let volume = volume(kernel::c_str!("replaced"))?;
    let cookie = volume.cookie(wanted(b"file"))?;
    store(&cookie, 0, 1, 7)?;
    drop(cookie);
    let cookie = volume.cookie(wanted(b"file"))?;
    let in_use = cookie.use_for(false);
    drop(in_use.begin_read()?);
    in_use.invalidate((BLOCKS * BLOCK) as i64);
    let writing = in_use.begin_write()?;
    let written = writing.write(at(0), Buffer::new(1, 8)?)?;
    ensure_eq!(written.result, BLOCK as isize);
    drop(writing);
    drop(in_use);
    drop(cookie);
    ensure!(finds(&volume, b"file")?);
    Ok(())
}
