// SPDX-License-Identifier: GPL-2.0
//! What a hostile process got hold of: devices, objects, and requests that it has not answered.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cachefiles_protocol::{Device, Message, ObjectFd, Open, Read};

use crate::dice::Dice;

/// A message in few words, for the step log.
pub struct MessageSummary<Fd>(pub Option<Message<Fd>>);

impl<Fd: fmt::Debug> fmt::Debug for MessageSummary<Fd> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("nothing"),
            Some(Message::Open(open)) => write!(
                f,
                "OPEN {} of {} ({})",
                open.msg_id,
                open.object_id,
                open.cookie_key.escape_ascii()
            ),
            Some(Message::Close(close)) => {
                write!(f, "CLOSE {} of {}", close.msg_id, close.object_id)
            }
            Some(Message::Read(read)) => write!(
                f,
                "READ {} of {}: {}+{}",
                read.msg_id, read.object_id, read.off, read.len
            ),
        }
    }
}

/// More than that is let go of again, at random.
const MOST: usize = 120;

/// An object as a daemon knows it.
pub struct Held {
    /// Which blob it is.
    pub key: Vec<u8>,
    /// By what number the kernel speaks of it.
    pub object_id: u32,
    /// Where its data goes.
    pub fd: ObjectFd,
}

/// Shared by the threads of a process. Everything in it may be gone the next moment.
#[derive(Default)]
pub struct Handles {
    devices: Mutex<Vec<Arc<Device>>>,
    objects: Mutex<Vec<Arc<Held>>>,
    opens: Mutex<Vec<Open>>,
    reads: Mutex<Vec<Read>>,
}

fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

fn any<T: Clone>(list: &Mutex<Vec<T>>, dice: &mut Dice) -> Option<T> {
    let list = lock(list);
    list.get(dice.below(list.len())).cloned()
}

/// Takes out at random. What is taken out is closed by the caller, with the list unlocked.
fn take<T>(list: &Mutex<Vec<T>>, dice: &mut Dice) -> Option<T> {
    let mut list = lock(list);
    let place = dice.below(list.len());
    (place < list.len()).then(|| list.swap_remove(place))
}

/// Puts in, and takes another out where there are too many.
fn put<T>(list: &Mutex<Vec<T>>, dice: &mut Dice, thing: T) -> Option<T> {
    let mut locked = lock(list);
    locked.push(thing);
    let full = locked.len() > MOST;
    drop(locked);
    if full { take(list, dice) } else { None }
}

impl Handles {
    /// One of the fds of the device.
    pub fn device(&self, dice: &mut Dice) -> Option<Arc<Device>> {
        any(&self.devices, dice)
    }

    /// Another one.
    pub fn add_device(&self, dice: &mut Dice, device: Device) {
        drop(put(&self.devices, dice, Arc::new(device)));
    }

    /// Gives one up.
    pub fn take_device(&self, dice: &mut Dice) -> Option<Arc<Device>> {
        take(&self.devices, dice)
    }

    /// How many there are.
    pub fn devices(&self) -> usize {
        lock(&self.devices).len()
    }

    /// Gives all up.
    pub fn take_devices(&self) -> Vec<Arc<Device>> {
        std::mem::take(&mut *lock(&self.devices))
    }

    /// One of the objects.
    pub fn object(&self, dice: &mut Dice) -> Option<Arc<Held>> {
        any(&self.objects, dice)
    }

    /// The object of this number.
    pub fn object_of_id(&self, object_id: u32) -> Option<Arc<Held>> {
        let objects = lock(&self.objects);
        // The newest first: a duplicate may have been replaced by something else.
        let found = objects
            .iter()
            .rev()
            .find(|held| held.object_id == object_id);
        found.cloned()
    }

    /// Another one.
    pub fn add_object(&self, dice: &mut Dice, object: Held) {
        drop(put(&self.objects, dice, Arc::new(object)));
    }

    /// Gives one up.
    pub fn take_object(&self, dice: &mut Dice) -> Option<Arc<Held>> {
        take(&self.objects, dice)
    }

    /// Gives up all fds of an object: those of this process.
    pub fn take_object_of_id(&self, object_id: u32) -> Vec<Arc<Held>> {
        let mut objects = lock(&self.objects);
        let (gone, left) = std::mem::take(&mut *objects)
            .into_iter()
            .partition(|held| held.object_id == object_id);
        *objects = left;
        gone
    }

    /// Gives all up.
    pub fn take_objects(&self) -> Vec<Arc<Held>> {
        std::mem::take(&mut *lock(&self.objects))
    }

    /// An OPEN to be answered some other time.
    pub fn add_open(&self, dice: &mut Dice, open: Open) {
        drop(put(&self.opens, dice, open));
    }

    /// One of those.
    pub fn take_open(&self, dice: &mut Dice) -> Option<Open> {
        take(&self.opens, dice)
    }

    /// A READ to be answered some other time.
    pub fn add_read(&self, dice: &mut Dice, read: Read) {
        put(&self.reads, dice, read);
    }

    /// One of those.
    pub fn take_read(&self, dice: &mut Dice) -> Option<Read> {
        take(&self.reads, dice)
    }

    /// A number that was seen in a message, or is near one.
    pub fn guess_id(&self, dice: &mut Dice) -> u32 {
        let seen = any(&self.reads, dice).map_or(0, |read| read.msg_id);
        match dice.below(4) {
            0 => dice.number() as u32,
            1 => dice.below(64) as u32,
            2 => seen,
            _ => seen.wrapping_add(dice.below(9) as u32).wrapping_sub(4),
        }
    }
}
