// SPDX-License-Identifier: GPL-2.0
//! The worker as a process: where it gets the device from, and how it leaves.

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cachefiles_daemon::handoff;
use cachefiles_daemon::stats::{Snapshot, Stats};
use cachefiles_protocol::{Close, Read, WireMessage};
use rustix::process::{Pid, Signal, kill_process};

use common::{FakeDevice, PROGRAM, wait_for};

/// Starts a worker that gets `device` over a socket at a path.
fn start(device: &OwnedFd, stats: &File, more: &[&str]) -> Child {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let child = Command::new(PROGRAM)
        .args(["serve", "--threads", "2", "--blobs", "/", "--fd-from"])
        .arg(&path)
        .args(more)
        .spawn()
        .unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    handoff::give(&connection, device.as_fd(), Some(stats)).unwrap();
    let mut answer = [0; handoff::READY.len()];
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(answer, handoff::READY);
    child
}

fn stop(mut child: Child, signal: Signal) -> Option<i32> {
    kill_process(Pid::from_child(&child), signal).unwrap();
    child.wait().unwrap().code()
}

#[test]
fn messages_are_taken_and_counted_and_counts_outlive_a_kill() {
    let (kernel, device) = FakeDevice::new();
    let stats = Stats::memory_file().unwrap();
    drop(Stats::create(&stats).unwrap());
    let read = |msg_id| {
        WireMessage::Read(Read {
            msg_id,
            object_id: 1,
            off: 0,
            len: 4096,
        })
    };
    let counts = || Snapshot::read(&stats).unwrap();

    let mut child = start(&device, &stats, &[]);
    kernel.send(&read(1));
    kernel.send(&read(2));
    wait_for("two READs", || (counts().reads == 2).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();

    let child = start(&device, &stats, &["--restore"]);
    assert_eq!(kernel.command().as_deref(), Some("restore"));
    kernel.send(&read(2));
    kernel.send(&read(3));
    kernel.send(&WireMessage::Close(Close {
        msg_id: 4,
        object_id: 1,
    }));
    wait_for("the rest", || {
        (counts().reads == 4 && counts().closes == 1).then_some(())
    });
    let got = counts();
    assert_eq!(
        (got.reads_again, got.workers, got.reads_completed),
        (1, 2, 0)
    );
    assert_eq!(stop(child, Signal::TERM), Some(0));
}

#[test]
fn metrics_are_told_at_a_socket_also_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics");
    let (kernel, device) = FakeDevice::new();
    let stats = Stats::memory_file().unwrap();
    drop(Stats::create(&stats).unwrap());
    let more = ["--metrics", path.to_str().unwrap()];
    let ask = |what: &str| {
        let mut stream = UnixStream::connect(&path).unwrap();
        write!(stream, "GET {what} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let mut child = start(&device, &stats, &more);
    kernel.send(&WireMessage::Read(Read {
        msg_id: 1,
        object_id: 1,
        off: 0,
        len: 4096,
    }));
    let line = "cachefiles_ondemandd_bytes_asked_total 4096\n";
    wait_for("the READ", || ask("/metrics").contains(line).then_some(()));
    assert!(ask("/metrics").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(ask("/").starts_with("HTTP/1.1 404 "));
    child.kill().unwrap();
    child.wait().unwrap();
    let child = start(&device, &stats, &more);
    assert!(ask("/metrics").contains(line));
    assert_eq!(stop(child, Signal::TERM), Some(0));
}

#[test]
fn it_leaves_on_sigint_too() {
    let (_kernel, device) = FakeDevice::new();
    let stats = Stats::memory_file().unwrap();
    drop(Stats::create(&stats).unwrap());
    assert_eq!(stop(start(&device, &stats, &[]), Signal::INT), Some(0));
}

#[test]
fn malformed_messages_do_not_stop_it() {
    let (kernel, device) = FakeDevice::new();
    let stats = Stats::memory_file().unwrap();
    drop(Stats::create(&stats).unwrap());
    let child = start(&device, &stats, &[]);
    let mut bytes = WireMessage::Close(Close {
        msg_id: 1,
        object_id: 1,
    })
    .encode();
    bytes[4] = 9;
    kernel.send_bytes(&bytes);
    kernel.send_bytes(b"short");
    kernel.send(&WireMessage::Close(Close {
        msg_id: 2,
        object_id: 1,
    }));
    wait_for("the CLOSE", || {
        (Snapshot::read(&stats).unwrap().closes == 1).then_some(())
    });
    assert_eq!(stop(child, Signal::TERM), Some(0));
}

#[test]
fn errors_name_cause_and_way_out() {
    let run = |arguments: &[&str]| {
        let output = Command::new(PROGRAM)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let absent = run(&["serve", "--blobs", "/absent"]);
    assert!(absent.contains("directory of blobs /absent"), "{absent}");
    let no_dir = run(&["serve", "--blobs", "/"]);
    assert!(no_dir.contains("give --dir DIR"), "{no_dir}");
    let no_device = run(&[
        "serve",
        "--blobs",
        "/",
        "--dir",
        "/x",
        "--device",
        "/dev/absent",
    ]);
    assert!(
        no_device.contains("cannot open /dev/absent: is the module loaded"),
        "{no_device}"
    );
    let no_stats = run(&["stats", "/dev/null"]);
    assert!(no_stats.contains("reading the counters"), "{no_stats}");
    let no_holder = run(&["serve", "--blobs", "/", "--fd-from", "/absent"]);
    assert!(
        no_holder.contains("holder of the device at /absent"),
        "{no_holder}"
    );
    let order = run(&[
        "serve",
        "--blobs",
        "/",
        "--dir",
        "/x",
        "--device",
        "/dev/null",
        "--fcull",
        "9",
    ]);
    assert!(
        order.contains("limits out of order: fstop 1% < fcull 9% < frun 7%"),
        "{order}"
    );
}

#[test]
fn sighup_ends_a_worker_only_if_the_next_one_could_start() {
    let config = tempfile::NamedTempFile::new().unwrap();
    let (_kernel, device) = FakeDevice::new();
    let stats = Stats::memory_file().unwrap();
    drop(Stats::create(&stats).unwrap());
    let mut child = start(
        &device,
        &stats,
        &["--config", config.path().to_str().unwrap()],
    );
    std::fs::write(config.path(), "colour = 1").unwrap();
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    // Long enough for it to end, if it would.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(child.try_wait().unwrap(), None);
    std::fs::write(config.path(), "tries = 3").unwrap();
    assert_eq!(stop(child, Signal::HUP), Some(0));
}

/// What the next worker could not do, or would do in another place than where the cache is.
#[test]
fn sighup_is_refused_where_the_cache_or_the_sockets_would_be_out_of_place() {
    let dir = tempfile::tempdir().unwrap();
    let (config, metrics) = (dir.path().join("config"), dir.path().join("metrics"));
    let write = |dir: &Path, more: &str| {
        let text = format!("dir = {dir:?}\n{more}\n");
        std::fs::write(&config, text).unwrap();
    };
    write(dir.path(), "");
    let (_kernel, device) = FakeDevice::new();
    let stats = Stats::memory_file().unwrap();
    drop(Stats::create(&stats).unwrap());
    let mut child = start(&device, &stats, &["--config", config.to_str().unwrap()]);
    for (place, more) in [
        ("..", "".to_owned()),
        (".", format!("metrics = {:?}", dir.path())),
        (".", "metrics = '/absent/metrics'".to_owned()),
    ] {
        write(&dir.path().join(place), &more);
        kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(child.try_wait().unwrap(), None, "{place} {more}");
    }
    // The same place by another name is no other place.
    write(&dir.path().join("."), &format!("metrics = {metrics:?}"));
    assert_eq!(stop(child, Signal::HUP), Some(0));
}

#[test]
fn errors_in_a_configuration_name_file_and_line() {
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), "dir = '/x'\nthread = 1\n").unwrap();
    let output = Command::new(PROGRAM)
        .args(["serve", "--config"])
        .arg(config.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let wanted = format!("{}:2: unknown key thread", config.path().display());
    assert!(said.contains(&wanted), "{said}");
}

#[test]
fn lines_for_the_journal_begin_with_their_priority() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let stat = rustix::fs::fstat(&file).unwrap();
    let journal = format!("{}:{}", stat.st_dev, stat.st_ino);
    let run = |journal: &str| {
        file.as_file().set_len(0).unwrap();
        let status = Command::new(PROGRAM)
            .args(["--log-level", "info", "serve", "--blobs", "/absent"])
            .env("JOURNAL_STREAM", journal)
            .stderr(file.reopen().unwrap())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(1));
        std::fs::read_to_string(file.path()).unwrap()
    };
    let said = run(&journal);
    assert!(said.starts_with("<3>cannot open the directory"), "{said}");
    // Redirected elsewhere, or not under systemd at all.
    for journal in ["1:1", ""] {
        let said = run(journal);
        assert!(said.trim_start().starts_with("ERROR cannot open"), "{said}");
    }
}
