// SPDX-License-Identifier: GPL-2.0

//! A daemon: what it does with messages, and when it dies.

use super::world::{Inner, World, PAGES};
use cachefiles_bindings::sched;
use cachefiles_protocol::{WireMessage, MAX_MESSAGE_SIZE, READ_COMPLETE};
use kernel::error::code::{EFAULT, EINVAL, EMFILE, ENOMEM};
use kernel_ext::anon_file;
use kernel_ext::fs::PAGE;
use kernel_ext::polling::Polling;
use shuttle::thread::JoinHandle;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// How a daemon behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    /// `EPOLLEXCLUSIVE`
    pub(super) exclusive: bool,
    /// `EPOLLET`: sleeps until it is woken, whatever is there.
    pub(super) edge: bool,
    /// Refuses so many OPENs.
    pub(super) refuses: u32,
    /// What it refuses it closes first, and says so then.
    pub(super) closes_first: bool,
    /// Closes the fd of so many OPENs and never answers them.
    pub(super) drops: u32,
    /// Dies of this message, without an answer: 0 is the first one.
    pub(super) dies_at: Option<u32>,
    /// So many reads may have a bad buffer: the scheduler tries both.
    pub(super) faults: u32,
    /// The thread ends after a read that faulted.
    pub(super) leaves: bool,
    /// Takes so many READs and does nothing about them.
    pub(super) ignores: u32,
    /// Closes the fd of so many READs, and does nothing else about them.
    pub(super) closes: u32,
    /// Fails so many READs.
    pub(super) fails: u32,
    /// Completes so many READs without data.
    pub(super) lies: u32,
    /// Forgets a READ, writes `restore`, and the thread ends.
    pub(super) forgets: u32,
    /// The thread is to end.
    pub(super) gone: bool,
}

/// A process: what its threads share.
pub(super) struct Process {
    number: usize,
    /// By object id: the descriptor, and the object's name.
    fds: Mutex<HashMap<u32, (u32, Vec<u8>)>>,
    /// OPENs that were read and not answered yet: the message, and the descriptor in it.
    opening: Mutex<HashMap<u32, u32>>,
    /// Threads that have not ended.
    threads: AtomicUsize,
    pollers: Mutex<Vec<Arc<Polling>>>,
    killed: AtomicBool,
}

impl Process {
    fn new(number: usize, threads: usize) -> Arc<Self> {
        Arc::new(Self {
            number,
            fds: Mutex::default(),
            opening: Mutex::default(),
            threads: AtomicUsize::new(threads),
            pollers: Mutex::default(),
            killed: AtomicBool::new(false),
        })
    }

    /// SIGKILL: each thread ends before it would do anything else.
    fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        let pollers = self.pollers.lock().unwrap().clone();
        pollers.iter().for_each(|poller| poller.wake());
    }

    /// The OPEN that came with this descriptor was answered, or may come again.
    fn opening_ends(&self, fd: u32) {
        let mut opening = self.opening.lock().unwrap();
        opening.retain(|_, other| *other != fd);
    }

    fn is_killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }
}

/// Starts a daemon of one thread.
pub(super) fn daemon(world: &World, number: usize, manner: Manner) -> JoinHandle<()> {
    let [thread] = threads(world, number, [manner]);
    thread
}

/// Starts a daemon of several threads.
pub(super) fn threads<const N: usize>(
    world: &World,
    number: usize,
    manners: [Manner; N],
) -> [JoinHandle<()>; N] {
    let process = Process::new(number, N);
    manners.map(|manner| {
        let (world, process) = (world.clone(), process.clone());
        shuttle::thread::spawn(move || run(&world, &process, manner))
    })
}

/// Starts a daemon that begins when another one has ended: as its supervisor does it.
pub(super) fn successor(
    world: &World,
    number: usize,
    manner: Manner,
    first: impl IntoIterator<Item = JoinHandle<()>> + Send + 'static,
) -> JoinHandle<()> {
    let world = world.clone();
    shuttle::thread::spawn(move || {
        for thread in first {
            thread.join().unwrap();
        }
        run(&world, &Process::new(number, 1), manner);
    })
}

/// Starts a daemon that ends while the cache lingers, and leaves its fds to a child. The cache is
/// handed to the next one then, beside which the child ends at any moment; or after it, if `late`.
pub(super) fn daemon_with_a_child(
    world: &World,
    number: usize,
    manner: Manner,
    late: bool,
) -> JoinHandle<()> {
    let (world, process) = (world.clone(), Process::new(number, 1));
    shuttle::thread::spawn(move || {
        anon_file::enter_process(number);
        let thread = Thread {
            world: &world,
            process: &process,
            manner,
            handled: 0,
        };
        thread.run();
        world.hand_over();
        let next = daemon(&world, number + 1, Manner::default());
        if late {
            next.join().unwrap();
            world.giving_back(anon_file::close_all);
        } else {
            world.giving_back(anon_file::close_all);
            next.join().unwrap();
        }
    })
}

fn run(world: &Inner, process: &Process, manner: Manner) {
    anon_file::enter_process(process.number);
    let thread = Thread {
        world,
        process,
        manner,
        handled: 0,
    };
    thread.run();
    // The last one out closes the files.
    if process.threads.fetch_sub(1, Ordering::SeqCst) == 1 {
        if world.is_stopped() && !world.is_dead() && !process.is_killed() {
            // There was nothing left to read: who drops an object has told of its fd.
            let fds = process.fds.lock().unwrap();
            let forgotten = fds.values().find(|(_, name)| world.is_dropped(name));
            assert_eq!(forgotten, None, "no CLOSE for an fd of a dropped object");
        }
        world.giving_back(anon_file::close_all);
    }
}

struct Thread<'a> {
    world: &'a Inner,
    process: &'a Process,
    manner: Manner,
    handled: u32,
}

impl Thread<'_> {
    fn run(mut self) {
        let poller = self.world.poller(self.manner.exclusive);
        self.process.pollers.lock().unwrap().push(poller.clone());
        // Once the device is closed nobody reads from it.
        while !self.process.is_killed() && !self.world.is_dead() && !self.manner.gone {
            match self.read() {
                None if self.manner.leaves && self.manner.faults == 0 => return,
                Some(_) if self.manner.dies_at == Some(self.handled) => self.process.kill(),
                Some(message) => {
                    self.answer(message);
                    self.handled += 1;
                }
                None if self.world.is_stopped() => return,
                None => self.sleep(&poller),
            }
        }
    }

    /// `epoll_wait()`
    fn sleep(&self, poller: &Polling) {
        if !self.manner.edge && self.world.is_readable() {
            return;
        }
        loop {
            poller.wait();
            let ends = self.world.is_stopped() || self.world.is_dead() || self.process.is_killed();
            if ends || self.world.is_readable() {
                return;
            }
        }
    }

    /// The next message; `None` where there is none.
    fn read(&mut self) -> Option<WireMessage> {
        loop {
            let faults = self.manner.faults > 0 && sched::choose(2) == 1;
            self.manner.faults -= u32::from(faults);
            let received = match self.world.read(MAX_MESSAGE_SIZE, faults) {
                Ok(received) => received?,
                Err(error) if error == EFAULT && faults && self.manner.leaves => return None,
                Err(error) if error == EFAULT && faults => continue,
                Err(error) if error == ENOMEM || error == EMFILE => continue,
                Err(error) => panic!("read: {error:?}"),
            };
            let message = WireMessage::try_from(&received.bytes[..]).unwrap();
            sched::note("reads message", message.msg_id().into());
            let fds = self.process.fds.lock().unwrap();
            let name = match &message {
                WireMessage::Open(open) => Some(&open.cookie_key),
                other => fds.get(&other.object_id()).map(|(_, name)| name),
            };
            let is_close = matches!(message, WireMessage::Close(_));
            let gone = name.is_some_and(|name| received.dropped.contains(name))
                && !(is_close && self.world.is_timed());
            assert!(!gone, "a message about an object that was dropped before");
            drop(fds);
            if let WireMessage::Open(open) = &message {
                // Even `restore` does not make two fds for one object.
                let mut opening = self.process.opening.lock().unwrap();
                let other = opening.insert(open.msg_id, open.fd as u32);
                assert_eq!(other, None, "OPEN {} is with two threads", open.msg_id);
            }
            return Some(message);
        }
    }

    fn answer(&mut self, message: WireMessage) {
        match message {
            WireMessage::Open(open) => {
                let fd = open.fd as u32;
                if self.manner.drops > 0 {
                    self.manner.drops -= 1;
                    self.process.opening_ends(fd);
                    self.world.giving_back(|| anon_file::close(fd));
                    return;
                }
                let known = (fd, open.cookie_key);
                self.process
                    .fds
                    .lock()
                    .unwrap()
                    .insert(open.object_id, known);
                let refuses = self.manner.refuses > 0;
                self.manner.refuses -= u32::from(refuses);
                if refuses && self.manner.closes_first {
                    self.process.fds.lock().unwrap().remove(&open.object_id);
                    // Gives nothing back: no other thread may see this OPEN.
                    anon_file::close(fd);
                }
                let size = if refuses { -2 } else { PAGES * PAGE };
                let answered = self.world.engine().copen(open.msg_id.into(), Ok(size));
                // A refusal gives it another id; an fd that is closed may bring it back.
                self.process.opening_ends(fd);
                if answered.is_err() || refuses && !self.manner.closes_first {
                    self.process.fds.lock().unwrap().remove(&open.object_id);
                    self.world.giving_back(|| anon_file::close(fd));
                }
            }
            WireMessage::Close(close) => {
                let fd = self.process.fds.lock().unwrap().remove(&close.object_id);
                if let Some((fd, _)) = fd {
                    // Another thread may be about to answer the OPEN that it came with.
                    self.process.opening_ends(fd);
                    self.world.giving_back(|| anon_file::close(fd));
                }
            }
            WireMessage::Read(read) => {
                assert_ne!(read.object_id, 0, "a READ of a closed object");
                let fds = self.process.fds.lock().unwrap();
                let fd = fds.get(&read.object_id).map(|(fd, _)| *fd);
                drop(fds);
                if let (1.., Some(fd)) = (self.manner.closes, fd) {
                    self.manner.closes -= 1;
                    self.process.fds.lock().unwrap().remove(&read.object_id);
                    self.world.giving_back(|| anon_file::close(fd));
                    return;
                }
                if self.manner.forgets > 0 {
                    self.manner.gone = true;
                    return self.world.restore();
                }
                if self.manner.ignores > 0 {
                    self.manner.ignores -= 1;
                    return;
                }
                if self.manner.fails > 0 {
                    self.manner.fails -= 1;
                    // EINVAL: as below.
                    let failed = self.world.engine().cfail(read.msg_id.into(), -5);
                    return assert!([Ok(()), Err(EINVAL)].contains(&failed));
                }
                // Not ours: the one who has it died, and closing its fd gives the READ back.
                let Some(file) = fd.and_then(anon_file::get) else {
                    return;
                };
                if self.manner.lies > 0 {
                    self.manner.lies -= 1;
                } else {
                    file.pwrite(read.off as i64, read.len as usize).unwrap();
                }
                match file.ioctl(READ_COMPLETE, read.msg_id as usize) {
                    // EINVAL: it was killed, or answered through another message of the same id.
                    Ok(_) => {}
                    Err(error) => assert_eq!(error, EINVAL),
                }
                if Arc::strong_count(&file) == 1 {
                    // Closed by another thread meanwhile: it goes with us.
                    self.world.giving_back(|| drop(file));
                }
            }
        }
    }
}
