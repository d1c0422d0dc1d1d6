// SPDX-License-Identifier: GPL-2.0
//! Waiting for the device, by `poll` and `epoll`, while others close it; and looking on.

use cachefiles_protocol::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, epoll as ep, poll as poll_call};
use rustix::fs::{self, Mode, OFlags, SeekFrom};

use crate::actor::Actor;

/// Epolls that a thread keeps at most.
const MOST: usize = 3;

fn time(actor: &mut Actor<'_>) -> Timespec {
    Timespec {
        tv_sec: 0,
        tv_nsec: actor.dice.below(4_000_000) as _,
    }
}

/// `poll` of the device, and of an object.
pub fn poll(actor: &mut Actor<'_>) {
    let Some(device) = actor.handles.device(&mut actor.dice) else {
        return;
    };
    let held = actor.handles.object(&mut actor.dice);
    let events = PollFlags::from_bits_retain(actor.dice.number() as u16);
    let time = time(actor);
    let _ = actor.step(format!("poll {events:?}"), |_| {
        let mut fds = vec![PollFd::new(&*device, events)];
        if let Some(held) = &held {
            fds.push(PollFd::new(&held.fd, events));
        }
        poll_call(&mut fds, Some(&time))?;
        Ok(fds[0].revents())
    });
}

/// An epoll that watches the device in one of several ways, and is kept; or one that was kept.
pub fn epoll(actor: &mut Actor<'_>) {
    if actor.epolls.len() < MOST && actor.dice.chance(50) {
        let Some(device) = actor.handles.device(&mut actor.dice) else {
            return;
        };
        let mut flags = ep::EventFlags::IN;
        for flag in [
            ep::EventFlags::EXCLUSIVE,
            ep::EventFlags::ET,
            ep::EventFlags::OUT,
        ] {
            if actor.dice.chance(40) {
                flags |= flag;
            }
        }
        // Watched a second time, it is one that watches another.
        let inner = actor.epolls.last();
        let nested = inner.is_some() && actor.dice.chance(20);
        let made = ep::create(ep::CreateFlags::CLOEXEC).and_then(|epoll| {
            ep::add(&epoll, &*device, ep::EventData::new_u64(1), flags)?;
            if let (true, Some(inner)) = (nested, inner) {
                ep::add(&epoll, inner, ep::EventData::new_u64(2), ep::EventFlags::IN)?;
            }
            Ok(epoll)
        });
        let mut made = Some(made);
        let epoll = actor.step(format!("epoll {flags:?}, nested {nested}"), |_| {
            made.take().unwrap_or(Err(Errno::IO))
        });
        actor.epolls.extend(epoll);
    }
    let Some(place) = actor.epolls.len().checked_sub(1) else {
        return;
    };
    let place = actor.dice.below(place + 1);
    let time = time(actor);
    let _ = actor.step("epoll_wait", |actor| {
        let epoll = actor.epolls.get(place).ok_or(Errno::BADF)?;
        let mut events = Vec::with_capacity(4);
        ep::wait(
            epoll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&time),
        )
    });
    if actor.dice.chance(30) {
        drop(actor.epolls.swap_remove(place));
    }
}

/// What debugfs shows, read in odd pieces and from anywhere, and not always to the end.
pub fn look(actor: &mut Actor<'_>) {
    let name = actor.dice.pick(&["caches", "objects", "requests"]);
    let from = actor.dice.below(5000) as u64;
    let mut piece = vec![0; 1 + actor.dice.below(700)];
    let most = actor.dice.below(40);
    let _ = actor.step(format!("look at {name} from {from}"), |_| {
        let path = format!("/sys/kernel/debug/cachefiles/{name}");
        let file = fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut length = 0;
        fs::seek(&file, SeekFrom::Start(from))?;
        for _ in 0..most {
            let count = rustix::io::read(&file, &mut piece)?;
            length += count;
            if count == 0 {
                break;
            }
        }
        Ok(length)
    });
}
