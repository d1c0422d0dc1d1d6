// SPDX-License-Identifier: GPL-2.0
//! A hostile process that closes fds by their numbers while others of its threads are given them by
//! the kernel. It never writes data: it could not know to what.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use anyhow::{Context as _, Result};
use cachefiles_harness::raw;
use cachefiles_protocol::{Errno, MAX_MESSAGE_SIZE, Message, WireMessage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::actor::Part;
use crate::dice::Dice;
use crate::handles::MessageSummary;
use crate::images::Images;
use crate::step_log::{StepLog, THREADS};

/// Numbers that are closed: from behind the device's, which is standard input here, on.
const FIRST: RawFd = 3;
const NUMBERS: usize = 6;

/// Does it, until this process is killed. Standard input is the device.
pub fn play(part: &Part) -> Result<()> {
    // The step log is a mapping: it needs no fd that could be lost.
    let mut step_logs = StepLog::create(&part.step_log)?.into_iter();
    let images = Images::make();
    let mut next = |thread| {
        let number = part.number * THREADS as u64 + thread;
        let step_log = step_logs.next().context("no step log left")?;
        anyhow::Ok((Dice::new(part.seed, number), step_log))
    };
    std::thread::scope(|scope| -> Result<()> {
        let (dice, step_log) = next(0)?;
        scope.spawn(move || close_numbers(dice, step_log));
        for thread in 1..3 {
            let (dice, step_log) = next(thread)?;
            let images = &images;
            scope.spawn(move || serve(images, dice, step_log));
        }
        Ok(())
    })
}

fn close_numbers(mut dice: Dice, mut step_log: StepLog) {
    loop {
        let number = FIRST + dice.below(NUMBERS) as RawFd;
        step_log.begin(&format!("close number {number}"));
        let result = raw::close_number(number);
        step_log.end(&format!("{result:?}"), result.is_ok());
        if dice.chance(10) {
            std::thread::sleep(dice.pause(2));
        }
    }
}

/// A daemon that answers without having fetched anything, on fds that it may have no more.
fn serve(images: &Images, mut dice: Dice, mut step_log: StepLog) {
    let stdin = io::stdin();
    let device = stdin.as_fd();
    loop {
        step_log.begin("read");
        let message = take(device).map(MessageSummary);
        step_log.end(&format!("{message:?}"), message.is_ok());
        match message {
            Ok(MessageSummary(Some(Message::Open(open)))) => {
                let size = images.blob(&open.cookie_key).map_or(0, <[u8]>::len);
                let command = format!("copen {},{size}", open.msg_id);
                step_log.begin(&command);
                let result = rustix::io::write(device, command.as_bytes());
                step_log.end(&format!("{result:?}"), result.is_ok());
                if dice.chance(50) {
                    // Also of what others are given in the meantime.
                    let _ = raw::close_number(open.fd);
                }
            }
            Ok(MessageSummary(Some(Message::Read(read)))) => {
                let number = FIRST + dice.below(NUMBERS) as RawFd;
                // SAFETY: the number is used for one call only, which fails where nothing is open,
                // or something else than an object.
                let fd = unsafe { BorrowedFd::borrow_raw(number) };
                step_log.begin(&format!("cread {} on {number}", read.msg_id));
                let argument = (read.msg_id & 0xfff) as u16;
                let result = raw::any_ioctl(fd, cachefiles_protocol::READ_COMPLETE, argument);
                step_log.end(&format!("{result:?}"), result.is_ok());
            }
            Ok(MessageSummary(Some(Message::Close(_)) | None)) => {}
            Err(_) => std::thread::sleep(dice.pause(5)),
        }
    }
}

/// A message whose fd is a number.
fn take(device: BorrowedFd<'_>) -> Result<Option<WireMessage>, Errno> {
    let time = Timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };
    poll(&mut [PollFd::new(&device, PollFlags::IN)], Some(&time))?;
    let mut buffer = [0; MAX_MESSAGE_SIZE];
    let length = rustix::io::read(device, &mut buffer)?;
    let bytes = buffer.get(..length).unwrap_or_default();
    if bytes.is_empty() {
        return Ok(None);
    }
    WireMessage::try_from(bytes)
        .map(Some)
        .map_err(|_| Errno::BADMSG)
}
