// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::anon_file`: descriptors that are reserved first, and files that are installed last.

use crate::live_count::{Counted, LiveCount};
use core::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::Arc;
use kernel_ext::anon_file::{oflags, AnonFile, AnonFileOps, FileDescriptorReservation, KiocbRef};
use kernel_ext::fs::Whence;
use kernel_ext::gfp::Gfp;
use kernel_ext::io::IovIterSource;
use kernel_ext::slab::{Created, Slab, SlabBox};
use kunit::{close_fd, ensure, ensure_eq, file_of_fd, flush_closed_files, foreign_module};
use kunit::{users_of_this_module, Outcome};

kunit::suite!(
    "kernel_ext_anon_file",
    [
        a_reservation_that_is_dropped_gives_the_number_back,
        reservations_have_numbers_of_their_own,
        when_no_number_is_free_it_is_emfile,
        an_exiting_task_has_no_numbers,
        nothing_is_visible_before_it_is_installed,
        what_is_installed_stays_until_it_is_closed,
        a_file_that_is_not_installed_is_released,
        a_file_keeps_the_module,
        the_file_of_another_module_is_refused,
        a_write_says_where_and_how_much,
        a_write_is_over_when_it_returns,
        no_more_is_written_than_there_was,
        errors_reach_the_caller,
        a_seek_and_an_ioctl_reach_the_file,
    ]
);

/// What was done to a file.
struct Record {
    offset: AtomicI64,
    bytes: AtomicUsize,
}

struct Handle {
    record: Arc<Record>,
    _counted: Counted,
}

static HANDLES: Slab<Handle> = Slab::new(kernel::c_str!("kunit_handle"));

/// Where a write says that it is not over, and where it says that it took more than there was.
const QUEUES: i64 = 5000;
const EXAGGERATES: i64 = 6000;

struct Operations;

impl AnonFileOps for Operations {
    const NAME: &'static CStr = kernel::c_str!("[kunit]");
    type Data = Handle;

    fn release(handle: SlabBox<Handle>) {
        drop(handle);
    }

    /// Takes all but one byte.
    fn write(
        handle: &Handle,
        kiocb: &mut KiocbRef<'_>,
        iter: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        match kiocb.pos() {
            0..100 => return Err(ENOSPC),
            QUEUES => return Err(EIOCBQUEUED),
            EXAGGERATES => return Ok(usize::MAX),
            _ => {}
        }
        let bytes = iter.count().saturating_sub(1);
        handle.record.offset.store(kiocb.pos(), Ordering::SeqCst);
        handle.record.bytes.store(bytes, Ordering::SeqCst);
        iter.advance(bytes);
        kiocb.set_pos(kiocb.pos() + bytes as i64);
        Ok(bytes)
    }

    fn llseek(_: &Handle, offset: i64, whence: i32) -> Result<i64> {
        match Whence::from_raw(whence) {
            Some(Whence::Data) => Ok(offset * 2),
            _ => Err(ENXIO),
        }
    }

    fn ioctl(_: &Handle, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            1 => Ok(arg as isize + 1),
            _ => Err(ENOTTY),
        }
    }
}

type TestFile = AnonFile<Operations>;

/// What files of a test are made of. Files are to be dropped before this.
struct Bench {
    record: Arc<Record>,
    live: LiveCount,
    slab: Created<Handle>,
}

impl Bench {
    fn new() -> Outcome<Self> {
        let record = Record {
            offset: AtomicI64::new(-1),
            bytes: AtomicUsize::new(0),
        };
        Ok(Self {
            record: Arc::new(record, GFP_KERNEL)?,
            live: LiveCount::new()?,
            slab: HANDLES.create()?,
        })
    }

    fn handle(&self) -> Outcome<SlabBox<Handle>> {
        let handle = Handle {
            record: self.record.clone(),
            _counted: self.live.one_more(),
        };
        Ok(self.slab.alloc(Gfp::Kernel)?.write(handle))
    }

    fn file(&self) -> Outcome<TestFile> {
        let handle = self.handle()?;
        Ok(AnonFile::create(
            &crate::THIS_MODULE,
            handle,
            oflags::O_WRONLY,
        )?)
    }

    /// Files that are not released.
    fn alive(&self) -> usize {
        flush_closed_files();
        self.live.alive()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        flush_closed_files();
    }
}

/// A descriptor with a file, closed when this is dropped.
struct Installed(u32);

impl Installed {
    fn new(file: TestFile) -> Outcome<Self> {
        let reservation = FileDescriptorReservation::new(oflags::O_CLOEXEC)?;
        let fd = reservation.fd();
        reservation.install(file);
        Ok(Self(fd))
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        // Where the test has closed it already, it is not open any more.
        let _ = close_fd(self.0);
    }
}

fn a_reservation_that_is_dropped_gives_the_number_back() -> Outcome {
    let first = FileDescriptorReservation::new(0)?;
    let fd = first.fd();
    drop(first);
    for _ in 0..3 {
        ensure_eq!(FileDescriptorReservation::new(oflags::O_CLOEXEC)?.fd(), fd);
    }
    Ok(())
}

fn reservations_have_numbers_of_their_own() -> Outcome {
    let first = FileDescriptorReservation::new(0)?;
    let second = FileDescriptorReservation::new(0)?;
    let third = FileDescriptorReservation::new(0)?;
    let (a, b, c) = (first.fd(), second.fd(), third.fd());
    ensure!(a < b && b < c, "they are {a}, {b}, {c}");
    drop(second);
    ensure_eq!(FileDescriptorReservation::new(0)?.fd(), b);
    Ok(())
}

fn when_no_number_is_free_it_is_emfile() -> Outcome {
    let first = FileDescriptorReservation::new(0)?;
    let mut all = KVec::new();
    let error = loop {
        match FileDescriptorReservation::new(0) {
            Ok(reservation) => all.push(reservation, GFP_KERNEL)?,
            Err(error) => break error,
        }
        ensure!(all.len() < 1_000_000, "there is no end of them");
    };
    ensure_eq!(error, EMFILE);
    let lowest = first.fd();
    drop(first);
    drop(all);
    ensure_eq!(FileDescriptorReservation::new(0)?.fd(), lowest);
    Ok(())
}

fn an_exiting_task_has_no_numbers() -> Outcome {
    let refused = kunit::as_if_exiting(|| FileDescriptorReservation::new(oflags::O_CLOEXEC).err());
    ensure_eq!(refused, Some(ESRCH));
    drop(FileDescriptorReservation::new(oflags::O_CLOEXEC)?);
    Ok(())
}

fn nothing_is_visible_before_it_is_installed() -> Outcome {
    let bench = Bench::new()?;
    let reservation = FileDescriptorReservation::new(0)?;
    let file = bench.file()?;
    ensure!(file_of_fd(reservation.fd()).is_none());
    drop(file);
    ensure!(file_of_fd(reservation.fd()).is_none());
    Ok(())
}

fn what_is_installed_stays_until_it_is_closed() -> Outcome {
    let bench = Bench::new()?;
    let installed = Installed::new(bench.file()?)?;
    let fd = installed.0;
    ensure!(file_of_fd(fd).is_some());
    ensure!(
        FileDescriptorReservation::new(0)?.fd() != fd,
        "{fd} was given again"
    );
    ensure_eq!(bench.alive(), 1);
    close_fd(fd)?;
    ensure!(file_of_fd(fd).is_none());
    ensure_eq!(bench.alive(), 0);
    ensure_eq!(close_fd(fd), Err(EBADF));
    Ok(())
}

fn a_file_that_is_not_installed_is_released() -> Outcome {
    let bench = Bench::new()?;
    let file = bench.file()?;
    ensure_eq!(bench.alive(), 1);
    drop(file);
    ensure_eq!(bench.alive(), 0);
    Ok(())
}

fn a_file_keeps_the_module() -> Outcome {
    let bench = Bench::new()?;
    let before = users_of_this_module();
    let file = bench.file()?;
    ensure_eq!(users_of_this_module(), before + 1);
    drop(file);
    flush_closed_files();
    ensure_eq!(users_of_this_module(), before);
    Ok(())
}

fn the_file_of_another_module_is_refused() -> Outcome {
    let bench = Bench::new()?;
    let handle = bench.handle()?;
    let created = AnonFile::<Operations>::create(foreign_module(), handle, oflags::O_WRONLY);
    let Err((error, handle)) = created else {
        ensure!(false, "a file was made");
        return Ok(());
    };
    ensure_eq!(error, EINVAL);
    // What it was to be made of comes back.
    ensure_eq!(bench.alive(), 1);
    drop(handle);
    ensure_eq!(bench.alive(), 0);
    Ok(())
}

fn a_write_says_where_and_how_much() -> Outcome {
    let bench = Bench::new()?;
    let installed = Installed::new(bench.file()?)?;
    let Some(file) = file_of_fd(installed.0) else {
        ensure!(false, "it is not installed");
        return Ok(());
    };
    for (offset, bytes) in [(100, 10), (1 << 40, 4096), (i64::MAX - 4096, 4096)] {
        let written = kunit::write_to(&file, &[1; 4096][..bytes], offset)?;
        ensure_eq!(written, bytes - 1);
        ensure_eq!(bench.record.offset.load(Ordering::SeqCst), offset);
        ensure_eq!(bench.record.bytes.load(Ordering::SeqCst), written);
    }
    Ok(())
}

fn a_write_is_over_when_it_returns() -> Outcome {
    let bench = Bench::new()?;
    let installed = Installed::new(bench.file()?)?;
    let Some(file) = file_of_fd(installed.0) else {
        ensure!(false, "it is not installed");
        return Ok(());
    };
    // For a process, which writes by way of another function, the kernel would stop here.
    ensure_eq!(kunit::write_to(&file, b"hello", QUEUES), Err(EIO));
    Ok(())
}

fn no_more_is_written_than_there_was() -> Outcome {
    let bench = Bench::new()?;
    let installed = Installed::new(bench.file()?)?;
    let Some(file) = file_of_fd(installed.0) else {
        ensure!(false, "it is not installed");
        return Ok(());
    };
    ensure_eq!(kunit::write_to(&file, b"hello", EXAGGERATES), Ok(5));
    Ok(())
}

fn errors_reach_the_caller() -> Outcome {
    let bench = Bench::new()?;
    let installed = Installed::new(bench.file()?)?;
    let Some(file) = file_of_fd(installed.0) else {
        ensure!(false, "it is not installed");
        return Ok(());
    };
    ensure_eq!(kunit::write_to(&file, b"hello", 99), Err(ENOSPC));
    ensure_eq!(kunit::ioctl(&file, 2, 0), Err(ENOTTY));
    ensure_eq!(file.llseek(0, Whence::Hole), Err(ENXIO));
    ensure_eq!(bench.record.offset.load(Ordering::SeqCst), -1);
    Ok(())
}

fn a_seek_and_an_ioctl_reach_the_file() -> Outcome {
    let bench = Bench::new()?;
    let installed = Installed::new(bench.file()?)?;
    let Some(file) = file_of_fd(installed.0) else {
        ensure!(false, "it is not installed");
        return Ok(());
    };
    for offset in [0, 1, 1 << 61] {
        ensure_eq!(file.llseek(offset, Whence::Data), Ok(offset * 2));
    }
    ensure_eq!(kunit::ioctl(&file, 1, 41), Ok(42));
    Ok(())
}
