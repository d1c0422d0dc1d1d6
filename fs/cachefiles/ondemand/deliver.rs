// SPDX-License-Identifier: GPL-2.0

//! The daemon's read: one message, or nothing.

use super::anon_fd::{self, NewFd, ObjectFd};
use super::engine::Engine;
use super::entry::Kind;
use super::message::{Message, Payload};
use super::request::{RequestNode, RequestSlots};
use super::state::ObjectState;
use super::table::Table;
use crate::cache::Pin;
use crate::object::Object;
use cachefiles_trace as trace;
use core::num::NonZeroU32;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::uaccess::UserSliceWriter;
use kext::anon_file::{oflags, FdReservation};
use kext::errno::EMSGSIZE;

/// A request on its way to the daemon.
struct Delivery {
    id: u32,
    node: Arc<RequestNode>,
    kind: Kind,
    /// The object id that goes into the message; 0 for an OPEN, which gets its own.
    object_id: u32,
}

impl Engine {
    /// Copies the next message out. Returns its length, or 0 where there is none.
    ///
    /// A message that can't be handed over stays to be read again. Errors: EMSGSIZE the buffer is
    /// too small for it; EFAULT; for an OPEN also EMFILE, ENFILE and ENOMEM.
    pub(crate) fn read_message(&self, pin: &Arc<Pin>, mut out: UserSliceWriter) -> Result<usize> {
        while let Some(delivery) = self.take_next(out.len())? {
            let put_back = |_: &Error| self.put_back(&delivery);
            let delivered = match delivery.kind {
                Kind::Open => self.deliver_open(pin, &delivery, &mut out)?,
                Kind::Close(_) => {
                    let len = self.deliver_close(&delivery, &mut out);
                    Some(len.inspect_err(put_back)?)
                }
                Kind::Read { off, len } => {
                    let payload = Payload::Read { off, len };
                    let len = write_message(&delivery, delivery.object_id, payload, &mut out);
                    Some(len.inspect_err(put_back)?)
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
    fn take_next(&self, room: usize) -> Result<Option<Delivery>> {
        let mut guard = self.table.lock();
        let (mut slots, table) = guard.slots();
        let Some(mut at) = table.pick(&mut slots) else {
            return Ok(None);
        };
        let (id, kind) = (at.id(), at.locked().kind);
        if payload(&at.shared().object, kind, 0).message_len() > room {
            return Err(EMSGSIZE);
        }
        table.deliver(&mut at);
        let node: Arc<RequestNode> = at.node().into();
        let object_id = match kind {
            Kind::Open => 0,
            Kind::Close(fd) => fd.get(),
            Kind::Read { .. } => {
                let object = &node.shared().object;
                Self::with_guard(&mut guard, object, |_, _, state| state.fd())?
                    .map_or(0, |fd| fd.get())
            }
        };
        Ok(Some(Delivery {
            id,
            node,
            kind,
            object_id,
        }))
    }

    fn put_back(&self, delivery: &Delivery) {
        let ready = self.with(&delivery.node.shared().object, |slots, _, state| {
            slots
                .at(delivery.id)
                .is_some_and(|mut at| Table::undeliver(&mut at, state))
        });
        if ready == Ok(true) {
            // Somebody else may have more luck with it.
            self.notifier.requests_ready(1);
        }
    }

    /// A CLOSE has no answer: it is done once it is read.
    fn deliver_close(&self, delivery: &Delivery, out: &mut UserSliceWriter) -> Result<usize> {
        let len = write_message(delivery, delivery.object_id, Payload::Close, out)?;
        let object = &delivery.node.shared().object;
        // The fd may have been closed, and the CLOSE finished by that, while it was copied.
        let delivered =
            |slots: &mut RequestSlots<'_>, _: &ObjectState| slots.at(delivery.id).map(|at| at.id());
        self.finish_requests(object, Ok(()), delivered);
        Ok(len)
    }

    /// Hands an OPEN over together with its anonymous fd, which user space can only use once the
    /// message is copied out. `None` where the request is gone.
    fn deliver_open(
        &self,
        pin: &Arc<Pin>,
        delivery: &Delivery,
        out: &mut UserSliceWriter,
    ) -> Result<Option<usize>> {
        let object = &delivery.node.shared().object;
        let (fd, file) = self
            .new_fd(pin, object)
            .inspect_err(|_| self.put_back(delivery))?;
        let object_id = file.object_id();
        let (wanted, closes) = self.with(object, |slots, table, state| {
            let wanted = table.attach_fd(slots, state, delivery.id, object_id);
            (wanted, state.has_closes())
        })?;
        if !wanted {
            return Ok(None);
        }
        if closes {
            self.finish_stale_closes(object);
        }
        trace::ondemand_open(object.debug_id(), delivery.id, object_id.get(), fd.fd(), 0);
        // If copying fails the file is closed, by which the OPEN comes back: see `fd_closed`. It may
        // be another thread's by the time we are told, and is not ours to put back.
        let len = write_message(
            delivery,
            object_id.get(),
            payload(object, delivery.kind, fd.fd()),
            out,
        )?;
        file.install(fd);
        Ok(Some(len))
    }

    /// Errors: EMFILE, ENFILE, ENOMEM.
    fn new_fd(&self, pin: &Arc<Pin>, object: &Arc<Object>) -> Result<(FdReservation, NewFd)> {
        let on_exec = if kext::params::inherit_fds() {
            0
        } else {
            oflags::O_CLOEXEC
        };
        let fd = FdReservation::new(oflags::O_WRONLY | on_exec)?;
        let file = anon_fd::create(ObjectFd::new(
            object.clone(),
            NonZeroU32::new(self.fd_ids.alloc(GFP_KERNEL)?).ok_or(EINVAL)?,
            pin.clone(),
        ))?;
        Ok((fd, file))
    }
}

fn payload(object: &Object, kind: Kind, fd: u32) -> Payload<'_> {
    match kind {
        Kind::Open => Payload::Open {
            volume_key: object.volume().netfs().key_with_nul(),
            cookie_key: object.cookie().key(),
            fd,
        },
        Kind::Close(_) => Payload::Close,
        Kind::Read { off, len } => Payload::Read { off, len },
    }
}

/// Inlined, as each of its three callers has a kind of message of its own.
#[inline(always)]
fn write_message(
    delivery: &Delivery,
    object_id: u32,
    payload: Payload<'_>,
    out: &mut UserSliceWriter,
) -> Result<usize> {
    match Message::new(delivery.id, object_id, payload).ok_or(EINVAL)? {
        Message::Bare(words) => out.write(&words)?,
        Message::Full(words, keys) => {
            out.write(&words)?;
            for key in keys.into_iter().filter(|key| !key.is_empty()) {
                out.write_slice(key)?;
            }
        }
    }
    Ok(payload.message_len())
}
