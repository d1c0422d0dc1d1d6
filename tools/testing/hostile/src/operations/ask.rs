// SPDX-License-Identifier: GPL-2.0
//! Commands: those of the interface with any argument, and what is no command at all.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cachefiles_harness::sys;

use crate::actor::Actor;
use crate::driver::command::NAMES;
use crate::memory::{ROOM, Spot};
use crate::raw;

/// What looks like a command, and is none.
const NO_COMMANDS: &[&[u8]] = &[b"cread", b"BIND", b"bin", b"bindondemand", b""];

/// What may stand behind them. No `debug` stream is switched on: the kernel's log would overflow.
const ARGUMENTS: &[&str] = &[
    "",
    " ",
    " 0",
    " 1",
    " 64",
    " 1%",
    " 50%",
    " 99%",
    " 100%",
    " -1",
    " ondemand",
    " ondemand ondemand",
    " x",
    " /cache",
    " /nowhere",
    " 4294967295,-5",
    " 99999,",
    " ,",
    " 18446744073709551615,1",
    " 1,9223372036854775808",
    " 0x10,0x10",
    " x,y",
    " ..",
    " ../x",
    " .",
    " nothing\nhere",
    " with\0nul",
    "\n",
    "\n\n",
    "\0",
    ",",
    " %n%s%p",
    "\t0",
    " 0\n",
    // The name of the cache.
    " selftest",
];

/// `copen` with an id that was guessed, and any size.
pub fn guess_copen(actor: &mut Actor<'_>) {
    let id = actor.handles.guess_id(&mut actor.dice);
    let size = match actor.dice.below(3) {
        0 => actor.dice.between(0, 1 << 20) as i64,
        1 => -(actor.dice.between(1, 5000) as i64),
        _ => actor.dice.odd(),
    };
    send(actor, format!("copen {id},{size}").into_bytes());
}

/// Bytes of any kind.
pub fn noise(actor: &mut Actor<'_>) {
    let length = actor.dice.below(80);
    let bytes = (0..length).map(|_| actor.dice.number() as u8).collect();
    send(actor, bytes);
}

/// The name of a command, each as often as the other, or something like one.
fn name(actor: &mut Actor<'_>) -> &'static [u8] {
    let place = actor.dice.below(NAMES.len() + NO_COMMANDS.len());
    let mut names = NAMES.iter().chain(NO_COMMANDS);
    names.nth(place).copied().unwrap_or_default()
}

/// Any name with any argument.
pub fn command(actor: &mut Actor<'_>) {
    let mut command = name(actor).to_vec();
    for _ in 0..=actor.dice.below(2) {
        command.extend_from_slice(actor.dice.pick(ARGUMENTS).as_bytes());
    }
    send(actor, command);
}

/// A word with an argument that just fits, or does not; or with something in it that does not
/// belong.
pub fn long_or_broken(actor: &mut Actor<'_>) {
    let mut command = name(actor).to_vec();
    command.push(b' ');
    if actor.dice.chance(50) {
        let length = 4090 + actor.dice.below(10);
        command.resize(length, b'a');
    } else {
        let length = 1 + actor.dice.below(300);
        command.resize(command.len() + length, b'a');
        let place = actor.dice.below(command.len());
        let byte = actor.dice.pick(b"\0\n/ \xff%,");
        if let Some(to) = command.get_mut(place) {
            *to = byte;
        }
    }
    send(actor, command);
}

/// A command in memory that is not there or ends too early, or is in several pieces.
pub fn from_bad_memory(actor: &mut Actor<'_>) {
    let Some(device) = actor.handles.device(&mut actor.dice) else {
        return;
    };
    let spot = match actor.dice.below(5) {
        0 => Spot::Nowhere(0),
        1 => Spot::Guard,
        2 => Spot::Kernel,
        3 => Spot::End(actor.dice.below(20) as u16),
        _ => Spot::Askew(actor.dice.below(4096) as u16),
    };
    actor.memory.put(spot, b"restore\ncopen 1,1\n");
    let length = match actor.dice.below(3) {
        0 => actor.dice.odd() as usize,
        _ => actor.dice.below(30),
    };
    if actor.dice.chance(30) {
        let parts = [(spot, length.min(ROOM)), (Spot::End(8), 7), (spot, 8)];
        let _ = actor.step(format!("writev {parts:?}"), |actor| {
            raw::writev(&*device, &actor.memory, &parts)
        });
    } else {
        let _ = actor.step(format!("write {spot:?}, {length}"), |actor| {
            raw::write(&*device, &actor.memory, spot, length)
        });
    }
}

/// Has something of the cache removed, or asks whether it is in use.
pub fn cull(actor: &mut Actor<'_>) {
    let directory = some_directory(actor);
    // Of the whole process: another thread may be culling here at this moment, which is as good.
    if rustix::process::chdir(&directory).is_err() {
        return;
    }
    let word = actor.dice.pick(&["cull ", "cull ", "inuse "]);
    let names = names(&directory);
    let name = names.get(actor.dice.below(names.len()));
    let command = [
        word.as_bytes(),
        name.map_or(&b"nothing"[..], |name| name.as_os_str().as_bytes()),
    ]
    .concat();
    send(actor, command);
}

/// Somewhere in the cache, or outside.
fn some_directory(actor: &mut Actor<'_>) -> PathBuf {
    let mut directory = match actor.dice.below(12) {
        0 => return Path::new("/").into(),
        1 => return Path::new(sys::CACHE).into(),
        2 => Path::new(sys::CACHE).join("graveyard"),
        _ => Path::new(sys::CACHE).join("cache"),
    };
    for _ in 0..actor.dice.below(3) {
        let names = names(&directory);
        let Some(name) = names.get(actor.dice.below(names.len())) else {
            break;
        };
        if !directory.join(name).is_dir() {
            break;
        }
        directory.push(name);
    }
    directory
}

fn names(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    // Sorted: the order on disk is not that of another run.
    let mut names: Vec<PathBuf> = entries.map(|entry| entry.file_name().into()).collect();
    names.sort();
    names
}

/// At any moment.
pub fn restore(actor: &mut Actor<'_>) {
    send(actor, b"restore".to_vec());
}

fn send(actor: &mut Actor<'_>, command: Vec<u8>) {
    let Some(device) = actor.handles.device(&mut actor.dice) else {
        return;
    };
    let shown = OsStr::from_bytes(command.get(..100).unwrap_or(&command));
    let what = format!("command {shown:?}, {} bytes", command.len());
    let _ = actor.step(what, |_| device.command_bytes(&command));
}
