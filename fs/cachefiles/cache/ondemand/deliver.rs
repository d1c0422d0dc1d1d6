// SPDX-License-Identifier: GPL-2.0

//! The daemon's read: one message, or nothing.

use super::anon_fd::{self, NewFd, ObjectFd};
use super::engine::Engine;
use super::entry::Kind;
use super::message::{Message, Payload};
use super::request::RequestSlots;
use super::state::ObjectState;
use super::table::Table;
use crate::cache::object::Object;
use crate::cache::Pin;
use cachefiles_trace as trace;
use core::num::NonZeroU32;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::uaccess::UserSliceWriter;
use kernel_ext::anon_file::{oflags, FileDescriptorReservation};
use kernel_ext::errno::EMSGSIZE;
use kernel_ext::gfp::Gfp;

/// A request on its way to the daemon, with its id.
enum Delivery {
    Open(u32, Arc<Object>),
    Close(u32, NonZeroU32, Arc<Object>),
    /// Takes no reference to its object: whatever becomes of that, the message stays the same.
    Read {
        id: u32,
        /// The anonymous fd that is to be answered by.
        object_id: u32,
        off: u64,
        len: u64,
    },
    /// A READ that turned out to be for later.
    Parked,
}

impl Engine {
    /// Copies the next message out. Returns its length, or 0 where there is none.
    ///
    /// A message that can't be handed over stays to be read again. Errors: EMSGSIZE the buffer is
    /// too small for it; EFAULT; for an OPEN also EMFILE, ENFILE and ENOMEM.
    #[inline]
    pub(crate) fn read_message(&self, pin: &Arc<Pin>, mut out: UserSliceWriter) -> Result<usize> {
        while let Some(delivery) = self.take_next(out.len())? {
            let delivered = match delivery {
                Delivery::Open(id, object) => self.deliver_open(pin, &object, id, &mut out)?,
                Delivery::Close(id, fd, object) => {
                    Some(self.deliver_close(&object, id, fd, &mut out)?)
                }
                Delivery::Read {
                    id,
                    object_id,
                    off,
                    len,
                } => {
                    let payload = Payload::Read { off, len };
                    let len = write_message(id, object_id, payload, &mut out);
                    Some(len.inspect_err(|_| self.put_back(id))?)
                }
                Delivery::Parked => {
                    kernel_ext::task::cond_resched();
                    None
                }
            };
            if let Some(len) = delivered {
                return Ok(len);
            }
            // Nobody wants it any more: on to the next.
        }
        Ok(0)
    }

    /// Picks a request and marks it as delivered, if its message fits into `room` bytes.
    #[inline(always)]
    fn take_next(&self, room: usize) -> Result<Option<Delivery>> {
        let mut guard = self.table.lock();
        let (mut slots, table, mut states) = guard.parts();
        let Some(mut at) = table.pick(&mut slots) else {
            return Ok(None);
        };
        let (id, kind, request) = (at.id(), at.locked().kind, at.shared());
        let Some(state) = request.state(&mut states) else {
            return Ok(None);
        };
        if Table::park(&mut at, state) {
            return Ok(Some(Delivery::Parked));
        }
        let payload = match kind {
            Kind::Open => open_payload(&request.object, 0),
            Kind::Close(_) => Payload::Close,
            Kind::Read { off, len } => Payload::Read { off, len },
        };
        if payload.message_len() > room {
            // The next read is for what is behind it: it may fit.
            table.pass_over(id);
            return Err(EMSGSIZE);
        }
        table.deliver(&mut at, state);
        Ok(Some(match kind {
            Kind::Open => Delivery::Open(id, request.object.clone()),
            Kind::Close(fd) => Delivery::Close(id, fd, request.object.clone()),
            Kind::Read { off, len } => Delivery::Read {
                id,
                object_id: state.fd().map_or(0, |fd| fd.get()),
                off,
                len,
            },
        }))
    }

    /// Puts back a request whose message could not be handed over: it is as if it was never taken.
    #[cold]
    fn put_back(&self, id: u32) {
        let mut ready = false;
        // Where it is gone by now, the one behind it is not meant.
        self.table.lock().for_each(id, 1, |at, states| {
            if let (true, Some(state)) = (at.id() == id, at.shared().state(states)) {
                ready = Table::undeliver(at, state);
            }
        });
        if ready {
            // Somebody else may have more luck with it.
            self.notifier.requests_ready(1);
        }
    }

    /// Hands a CLOSE over. It has no answer: it is done once it is read. The daemon forgets the
    /// object then, so no answer to an OPEN of it is taken any more: it would keep an fd of which
    /// it is never told.
    fn deliver_close(
        &self,
        object: &Arc<Object>,
        id: u32,
        fd: NonZeroU32,
        out: &mut UserSliceWriter,
    ) -> Result<usize> {
        let len =
            write_message(id, fd.get(), Payload::Close, out).inspect_err(|_| self.put_back(id))?;
        self.with(object, |_, table, state| table.drop_object(state))?;
        // The fd may have been closed, and the CLOSE finished by that, while it was copied.
        let delivered =
            |slots: &mut RequestSlots<'_>, _: &ObjectState| slots.at(id).map(|at| at.id());
        self.finish_requests(object, Ok(()), delivered);
        Ok(len)
    }

    /// Hands an OPEN over together with its anonymous fd, which user space can only use once the
    /// message is copied out. `None` where the request is gone.
    fn deliver_open(
        &self,
        pin: &Arc<Pin>,
        object: &Arc<Object>,
        id: u32,
        out: &mut UserSliceWriter,
    ) -> Result<Option<usize>> {
        let (fd, file) = self
            .new_fd(pin, object)
            .inspect_err(|_| self.put_back(id))?;
        let object_id = file.object_id();
        let (wanted, closes) = self.with(object, |slots, table, state| {
            let wanted = table.attach_fd(slots, state, id, object_id);
            (wanted, state.has_close())
        })?;
        if !wanted {
            return Ok(None);
        }
        if closes {
            self.finish_stale_closes(object);
        }
        trace::ondemand_open(object.debug_id(), id, object_id.get(), fd.fd(), 0);
        // Before the file is closed, which is then nothing to the OPEN.
        let len = write_message(id, object_id.get(), open_payload(object, fd.fd()), out)
            .inspect_err(|_| self.take_back(object, id, object_id))?;
        file.install(fd);
        Ok(Some(len))
    }

    /// Puts back an OPEN that could not be handed over, nor its fd.
    #[cold]
    fn take_back(&self, object: &Arc<Object>, id: u32, object_id: NonZeroU32) {
        let ready = self.with(object, |slots, table, state| {
            table.take_back(slots, state, id, object_id)
        });
        if ready == Ok(true) {
            // Somebody else may have more luck with it.
            self.notifier.requests_ready(1);
        }
    }

    /// Makes an anonymous fd for an object. Errors: EMFILE, ENFILE, ENOMEM.
    fn new_fd(
        &self,
        pin: &Arc<Pin>,
        object: &Arc<Object>,
    ) -> Result<(FileDescriptorReservation, NewFd)> {
        let on_exec = if kernel_ext::params::inherit_fds() {
            0
        } else {
            oflags::O_CLOEXEC
        };
        let fd = FileDescriptorReservation::new(oflags::O_WRONLY | on_exec)?;
        let data = ObjectFd::new(
            object.clone(),
            NonZeroU32::new(self.fd_ids.alloc(Gfp::Kernel)?).ok_or(EINVAL)?,
            pin.clone(),
        );
        self.fds
            .insert(data.id().get(), object.clone(), Gfp::Kernel)?;
        Ok((fd, anon_fd::create(data)?))
    }
}

fn open_payload(object: &Object, fd: u32) -> Payload<'_> {
    Payload::Open {
        volume_key: object.volume().netfs().key_with_nul(),
        cookie_key: object.cookie().key(),
        fd,
    }
}

/// Copies a message out. Returns its length. Inlined, as each of its three callers has a kind of
/// message of its own.
#[inline(always)]
fn write_message(
    id: u32,
    object_id: u32,
    payload: Payload<'_>,
    out: &mut UserSliceWriter,
) -> Result<usize> {
    match Message::new(id, object_id, payload).ok_or(EINVAL)? {
        Message::Bare(words) => out.write(&words)?,
        Message::Full(words, keys) => {
            out.write(&words)?;
            for key in keys {
                write_key(key, out)?;
            }
        }
    }
    Ok(payload.message_len())
}

/// Copies a key out by way of the stack. A short one lies in the cookie itself, and out of those a
/// kernel with `CONFIG_HARDENED_USERCOPY` lets nothing be copied to user space.
fn write_key(key: &[u8], out: &mut UserSliceWriter) -> Result {
    let mut buffer = [0; 64];
    for chunk in key.chunks(buffer.len()) {
        if let Some(buffer) = buffer.get_mut(..chunk.len()) {
            buffer.copy_from_slice(chunk);
            out.write_slice(buffer)?;
        }
    }
    Ok(())
}
