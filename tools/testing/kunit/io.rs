// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::io`: direct I/O, waited for and not, and the memory that it is made with.

use crate::scratch::Scratch;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::fs::File;
use kernel_ext::io::{read_sync, write_sync, Window};
use kunit::{ensure, ensure_eq, submit_read, submit_write, Buffer, Outcome};

kunit::suite!(
    "kernel_ext_io",
    [
        what_was_written_is_read,
        a_read_ends_where_the_file_ends,
        a_read_behind_the_end_reads_nothing,
        what_direct_io_cannot_do_is_einval,
        what_was_begun_is_told_once_and_with_its_result,
        what_fails_is_told_as_well,
        a_read_from_a_disk_goes_on_by_itself,
        a_file_that_is_dropped_is_open_until_its_io_has_ended,
        many_reads_are_on_their_way_at_a_time,
        memory_is_cleared_as_far_as_it_goes,
        an_iterator_moves_up_to_its_end,
        an_iterator_is_cut,
        a_write_can_be_read_again,
        a_window_is_filled_from_the_front,
        a_window_shows_nothing_once_it_is_shut_or_closed,
    ]
);

const BLOCK: usize = 4096;

fn write(file: &File, pos: i64, blocks: usize, fill: u8) -> Result<usize> {
    let mut buffer = Buffer::new(blocks, fill)?;
    buffer.to_write_from(blocks * BLOCK, |iter| write_sync(file, pos, iter))
}

/// Reads into memory that is full of `0xee`.
fn read(file: &File, pos: i64, bytes: usize) -> Result<(usize, Buffer)> {
    let mut buffer = Buffer::new(bytes.div_ceil(BLOCK), 0xee)?;
    let read = buffer.to_read_into(bytes, |iter| read_sync(file, pos, iter))?;
    Ok((read, buffer))
}

fn what_was_written_is_read() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.nameless()?;
        ensure_eq!(write(&file, 0, 3, 1), Ok(3 * BLOCK));
        ensure_eq!(write(&file, BLOCK as i64, 1, 2), Ok(BLOCK));
        ensure_eq!(file.inode().size(), 3 * BLOCK as i64);
        let (bytes, buffer) = read(&file, 0, 3 * BLOCK)?;
        ensure_eq!(bytes, 3 * BLOCK);
        ensure!(buffer.is_all(0, BLOCK, 1));
        ensure!(buffer.is_all(BLOCK, 2 * BLOCK, 2));
        ensure!(buffer.is_all(2 * BLOCK, 3 * BLOCK, 1));
    }
    Ok(())
}

fn a_read_ends_where_the_file_ends() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.nameless()?;
        write(&file, 0, 2, 1)?;
        file.truncate(BLOCK as i64 + 100)?;
        let (bytes, buffer) = read(&file, 0, 4 * BLOCK)?;
        ensure_eq!(bytes, BLOCK + 100);
        ensure!(buffer.is_all(0, BLOCK + 100, 1));
    }
    Ok(())
}

fn a_read_behind_the_end_reads_nothing() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.nameless()?;
        write(&file, 0, 1, 1)?;
        for pos in [BLOCK, 100 * BLOCK] {
            let (bytes, buffer) = read(&file, pos as i64, BLOCK)?;
            ensure_eq!(bytes, 0);
            ensure!(buffer.is_all(0, BLOCK, 0xee));
        }
    }
    Ok(())
}

fn what_direct_io_cannot_do_is_einval() -> Outcome {
    let at = Scratch::on_ext4()?;
    let file = at.nameless()?;
    write(&file, 0, 2, 1)?;
    // Neither from everywhere nor of any length.
    ensure_eq!(read(&file, 1, BLOCK).err(), Some(EINVAL));
    ensure_eq!(read(&file, 0, 100).err(), Some(EINVAL));
    Ok(())
}

fn what_was_begun_is_told_once_and_with_its_result() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.nameless()?;
        let pending = submit_write(&file, 0, Buffer::new(4, 7)?)?;
        let written = pending.wait()?;
        ensure_eq!(written.result, 4 * BLOCK as isize);
        ensure_eq!(written.was_async, pending.was_queued());
        ensure!(pending.was_queued() || pending.returned == 0);

        let pending = submit_read(&file, BLOCK as i64, Buffer::new(4, 0xee)?)?;
        let read = pending.wait()?;
        ensure_eq!(read.result, 3 * BLOCK as isize);
        ensure_eq!(read.was_async, pending.was_queued());
        ensure!(read.same_file && written.same_file);
        ensure!(read.buffer.is_all(0, 3 * BLOCK, 7));
    }
    Ok(())
}

fn what_fails_is_told_as_well() -> Outcome {
    let at = Scratch::on_ext4()?;
    let file = at.nameless()?;
    write(&file, 0, 2, 1)?;
    let errno = EINVAL.to_errno() as isize;
    for pending in [
        submit_read(&file, 1, Buffer::new(1, 0)?)?,
        submit_write(&file, 1, Buffer::new(1, 0)?)?,
        submit_read(&file, -1, Buffer::new(1, 0)?)?,
    ] {
        let finished = pending.wait()?;
        ensure_eq!((pending.returned, finished.result), (errno, errno));
        ensure!(!finished.was_async);
    }
    Ok(())
}

fn a_read_from_a_disk_goes_on_by_itself() -> Outcome {
    let at = Scratch::on_ext4()?;
    let file = at.nameless()?;
    write(&file, 0, 64, 9)?;
    let (mut reads, mut queued) = (0, 0);
    // On a busy machine the disk may be the faster one, and a read end within the call that began
    // it; then it takes more of them to see one that is on its way.
    while reads < 20 || (queued == 0 && reads < 2000) {
        reads += 1;
        let pending = submit_read(&file, 0, Buffer::new(64, 0)?)?;
        let finished = pending.wait()?;
        ensure_eq!(finished.result, 64 * BLOCK as isize);
        ensure_eq!(finished.was_async, pending.was_queued());
        ensure!(finished.buffer.is_all(0, 64 * BLOCK, 9));
        queued += u32::from(pending.was_queued());
    }
    ensure!(queued > 0, "none of {reads} was on its way");
    // A write to where there are blocks, too.
    let pending = submit_write(&file, 0, Buffer::new(64, 8)?)?;
    ensure_eq!(pending.wait()?.result, 64 * BLOCK as isize);
    ensure_eq!(pending.wait()?.was_async, pending.was_queued());
    ensure!(read(&file, 0, 64 * BLOCK)?.1.is_all(0, 64 * BLOCK, 8));
    Ok(())
}

fn a_file_that_is_dropped_is_open_until_its_io_has_ended() -> Outcome {
    for at in Scratch::on_each()? {
        for _ in 0..10 {
            let file = at.nameless()?;
            write(&file, 0, 16, 3)?;
            let pending = submit_read(&file, 0, Buffer::new(16, 0)?)?;
            // It has no name: with its last reference it would be gone, and its blocks with it.
            drop(file);
            kunit::flush_closed_files();
            let finished = pending.wait()?;
            ensure_eq!(finished.result, 16 * BLOCK as isize);
            ensure!(finished.same_file && finished.buffer.is_all(0, 16 * BLOCK, 3));
        }
    }
    Ok(())
}

fn many_reads_are_on_their_way_at_a_time() -> Outcome {
    const READS: usize = 32;
    let at = Scratch::on_ext4()?;
    let file = at.nameless()?;
    for block in 0..READS {
        write(&file, (block * BLOCK) as i64, 1, block as u8)?;
    }
    let mut reads = KVec::with_capacity(READS, GFP_KERNEL)?;
    for block in 0..READS {
        let pending = submit_read(&file, (block * BLOCK) as i64, Buffer::new(1, 0xee)?)?;
        reads.push(pending, GFP_KERNEL)?;
    }
    for (block, pending) in reads.iter().enumerate() {
        let finished = pending.wait()?;
        ensure_eq!(finished.result, BLOCK as isize);
        ensure!(
            finished.buffer.is_all(0, BLOCK, block as u8),
            "block {block} has other data"
        );
    }
    Ok(())
}

fn memory_is_cleared_as_far_as_it_goes() -> Outcome {
    let mut buffer = Buffer::new(2, 0xee)?;
    let (cleared, left) = buffer.to_read_into(5000, |iter| (iter.zero(4097), iter.count()));
    ensure_eq!((cleared, left), (4097, 903));
    ensure!(buffer.is_all(0, 4097, 0) && buffer.is_all(4097, 2 * BLOCK, 0xee));

    let mut buffer = Buffer::new(2, 0xee)?;
    let (cleared, left) = buffer.to_read_into(5000, |iter| {
        iter.advance(1000);
        (iter.zero(usize::MAX), iter.count())
    });
    ensure_eq!((cleared, left), (4000, 0));
    ensure!(buffer.is_all(0, 1000, 0xee) && buffer.is_all(1000, 5000, 0));
    ensure!(buffer.is_all(5000, 2 * BLOCK, 0xee));
    Ok(())
}

fn an_iterator_moves_up_to_its_end() -> Outcome {
    let mut buffer = Buffer::new(1, 0)?;
    let counts = buffer.to_read_into(100, |iter| {
        let mut count = |bytes| {
            iter.advance(bytes);
            iter.count()
        };
        [count(0), count(1), count(98), count(2), count(usize::MAX)]
    });
    ensure_eq!(counts, [100, 99, 1, 0, 0]);
    Ok(())
}

fn an_iterator_is_cut() -> Outcome {
    let mut buffer = Buffer::new(1, 0xee)?;
    let (counts, cleared) = buffer.to_read_into(100, |iter| {
        let mut count = |bytes| {
            iter.truncate(bytes);
            iter.count()
        };
        let counts = [count(200), count(100), count(10), count(50)];
        (counts, iter.zero(100))
    });
    ensure_eq!(counts, [100, 100, 10, 10]);
    ensure_eq!(cleared, 10);
    ensure!(buffer.is_all(0, 10, 0) && buffer.is_all(10, BLOCK, 0xee));
    Ok(())
}

fn a_write_can_be_read_again() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.nameless()?;
        let mut buffer = Buffer::new(2, 1)?;
        let counts = buffer.to_write_from(2 * BLOCK, |iter| -> Result<_> {
            let written = write_sync(&file, 0, &mut iter.duplicate())?;
            let left = iter.count();
            iter.advance(BLOCK);
            Ok((written, left, iter.duplicate().count()))
        });
        ensure_eq!(counts, Ok((2 * BLOCK, 2 * BLOCK, BLOCK)));
    }
    Ok(())
}

fn a_window_is_filled_from_the_front() -> Outcome {
    for is_list in [false, true] {
        let mut memory = Buffer::new(40, 0xee)?;
        let len = 40 * BLOCK - 100;
        let mut sources = [Buffer::new(1, 1)?, Buffer::new(20, 2)?, Buffer::new(20, 3)?];
        let fills = |window: &Arc<Window>| {
            let mut seen = [(0, 0); 3];
            for (source, seen) in sources.iter_mut().zip(&mut seen) {
                let wanted = source.len();
                let filled = source.to_write_from(wanted, |iter| {
                    iter.advance(50);
                    window.look().map_or(0, |mut view| view.fill(iter, wanted))
                });
                let left = window.look().map_or(usize::MAX, |view| view.left());
                *seen = (filled, left);
            }
            (seen, window.is_full())
        };
        let ((seen, was_full), is_full) = memory.through_window(len, is_list, fills)?;
        let (second, third) = (BLOCK - 50, 21 * BLOCK - 100);
        // Each source has 50 bytes less than was asked for; the last one more than there is room.
        ensure_eq!(seen[0], (second, len - second));
        ensure_eq!(seen[1], (20 * BLOCK - 50, len - third));
        ensure_eq!(seen[2], (len - third, 0));
        ensure!(was_full && is_full);
        ensure!(memory.is_all(0, second, 1) && memory.is_all(second, third, 2));
        ensure!(memory.is_all(third, len, 3) && memory.is_all(len, 40 * BLOCK, 0xee));
    }
    Ok(())
}

fn a_window_shows_nothing_once_it_is_shut_or_closed() -> Outcome {
    for is_shut in [false, true] {
        let (mut memory, mut source) = (Buffer::new(2, 0xee)?, Buffer::new(2, 1)?);
        let (window, is_full) = memory.through_window(2 * BLOCK, false, |window| {
            source.to_write_from(BLOCK, |iter| {
                window.look().map(|mut view| view.fill(iter, BLOCK))
            });
            if is_shut {
                source.to_write_from(BLOCK, |iter| {
                    window.look().map(|mut view| {
                        view.fill(iter, BLOCK);
                        view.shut();
                    })
                });
                return (window.clone(), window.look().is_none() && !window.is_full());
            }
            (window.clone(), window.look().is_some() && !window.is_full())
        })?;
        let (window, was_as_expected) = window;
        ensure!(was_as_expected && !is_full);
        ensure!(window.look().is_none() && !window.is_full());
    }
    Ok(())
}
