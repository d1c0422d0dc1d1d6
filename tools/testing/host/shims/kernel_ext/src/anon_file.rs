// SPDX-License-Identifier: GPL-2.0

//! Anonymous files, and the descriptors of the processes that hold them.

use crate::io::IovIterSource;
use crate::slab::SlabBox;
use cachefiles_bindings::sched;
use core::marker::PhantomData;
use kernel::error::code::{EMFILE, ENOMEM};
use kernel::error::{Error, Result};
use kernel::str::CStr;
use kernel::ThisModule;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Flags of an open file.
pub mod oflags {
    /// Opened for writing only.
    pub const O_WRONLY: u32 = 0o1;
    /// Closed by `execve()`.
    pub const O_CLOEXEC: u32 = 0o2000000;
}

/// As the real one.
pub trait AnonFileOps: Sized + 'static {
    /// The name.
    const NAME: &'static CStr;
    /// What the file keeps.
    type Data: Send + Sync + 'static;
    /// The last reference is gone.
    fn release(data: SlabBox<Self::Data>);
    /// `pwrite()`
    fn write(
        data: &Self::Data,
        kiocb: &mut KiocbRef<'_>,
        iter: &mut IovIterSource<'_>,
    ) -> Result<usize>;
    /// `lseek()`
    fn llseek(data: &Self::Data, offset: i64, whence: i32) -> Result<i64>;
    /// `ioctl()`
    fn ioctl(data: &Self::Data, cmd: u32, arg: usize) -> Result<isize>;
}

/// Where a write goes.
pub struct KiocbRef<'a> {
    pos: i64,
    _kiocb: PhantomData<&'a mut ()>,
}

impl KiocbRef<'_> {
    /// The offset.
    pub fn pos(&self) -> i64 {
        self.pos
    }

    /// Sets it.
    pub fn set_pos(&mut self, pos: i64) {
        self.pos = pos;
    }
}

/// An open file, as a process uses it.
pub trait Open {
    /// `pwrite()`
    fn pwrite(&self, pos: i64, len: usize) -> Result<usize>;
    /// `ioctl()`
    fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize>;
}

struct Inner<T: AnonFileOps>(Option<SlabBox<T::Data>>);

impl<T: AnonFileOps> Drop for Inner<T> {
    fn drop(&mut self) {
        sched::may_sleep();
        if let Some(data) = self.0.take() {
            T::release(data);
        }
    }
}

impl<T: AnonFileOps> Open for Inner<T> {
    fn pwrite(&self, pos: i64, len: usize) -> Result<usize> {
        let mut kiocb = KiocbRef {
            pos,
            _kiocb: PhantomData,
        };
        match &self.0 {
            Some(data) => T::write(data, &mut kiocb, &mut IovIterSource::new(len)),
            None => Ok(0),
        }
    }

    fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize> {
        match &self.0 {
            Some(data) => T::ioctl(data, cmd, arg),
            None => Ok(0),
        }
    }
}

/// A file that is not installed anywhere.
pub struct AnonFile<T: AnonFileOps>(Arc<Inner<T>>);

impl<T: AnonFileOps> AnonFile<T> {
    /// As the real one.
    pub fn create(
        _module: &'static ThisModule,
        data: SlabBox<T::Data>,
        _flags: u32,
    ) -> core::result::Result<Self, (Error, SlabBox<T::Data>)> {
        sched::may_sleep();
        if cachefiles_bindings::alloc_fails() {
            return Err((ENOMEM, data));
        }
        Ok(Self(Arc::new(Inner(Some(data)))))
    }
}

/// Descriptors that a process may have open.
const LIMIT: u32 = 64;

/// A process: the numbers of its descriptors, and what is installed under them.
type Process = BTreeMap<u32, Option<Arc<dyn Open>>>;

#[derive(Default)]
struct Processes {
    tables: HashMap<usize, Process>,
    /// The process that a task belongs to.
    of_task: HashMap<usize, usize>,
    /// Tasks that are on their way out.
    exiting: HashSet<usize>,
}

std::thread_local! {
    static PROCESSES: RefCell<Processes> = RefCell::default();
}

fn with<R>(f: impl FnOnce(&mut Process) -> R) -> R {
    PROCESSES.with_borrow_mut(|all| {
        let process = all.of_task.get(&sched::current()).copied().unwrap_or(0);
        f(all.tables.entry(process).or_default())
    })
}

/// Forgets all processes: a new execution begins.
pub fn reset() {
    let old = PROCESSES.with_borrow_mut(std::mem::take);
    drop(old);
}

/// Leaves all processes as they are: the execution failed, and nothing of it may run any more.
pub fn abandon() {
    std::mem::forget(PROCESSES.take());
}

/// The running task belongs to this process.
pub fn enter_process(process: usize) {
    PROCESSES.with_borrow_mut(|all| all.of_task.insert(sched::current(), process));
}

/// The file that is installed under a number.
pub fn get(fd: u32) -> Option<Arc<dyn Open>> {
    sched::point();
    with(|process| process.get(&fd).cloned().flatten())
}

/// Closes a descriptor. False where there is none.
pub fn close(fd: u32) -> bool {
    sched::point();
    sched::note("closes fd", fd.into());
    let file = with(|process| match process.get(&fd) {
        Some(Some(_)) => process.remove(&fd).flatten(),
        _ => None,
    });
    let was_open = file.is_some();
    drop(file);
    was_open
}

/// Whether the running task is on its way out.
pub fn is_exiting() -> bool {
    PROCESSES.with_borrow(|all| all.exiting.contains(&sched::current()))
}

/// Closes all descriptors of a process, one by one, as its death does.
pub fn close_all() {
    PROCESSES.with_borrow_mut(|all| all.exiting.insert(sched::current()));
    let all: Vec<u32> = with(|process| process.keys().copied().collect());
    for fd in all {
        close(fd);
    }
}

/// As the real one.
pub struct FileDescriptorReservation {
    fd: u32,
    _not_send: PhantomData<*mut ()>,
}

impl FileDescriptorReservation {
    /// As the real one. Error: EMFILE.
    pub fn new(_flags: u32) -> Result<Self> {
        sched::may_sleep();
        if cachefiles_bindings::alloc_fails() {
            return Err(EMFILE);
        }
        let fd = with(|process| {
            let fd = (3..LIMIT).find(|fd| !process.contains_key(fd))?;
            process.insert(fd, None);
            Some(fd)
        });
        Ok(Self {
            fd: fd.ok_or(EMFILE)?,
            _not_send: PhantomData,
        })
    }

    /// The number.
    pub fn fd(&self) -> u32 {
        self.fd
    }

    /// From here on other tasks of the process can use it.
    pub fn install<T: AnonFileOps>(self, file: AnonFile<T>) {
        sched::point();
        with(|process| process.insert(self.fd, Some(file.0)));
        core::mem::forget(self);
    }
}

impl Drop for FileDescriptorReservation {
    fn drop(&mut self) {
        with(|process| process.remove(&self.fd));
    }
}
