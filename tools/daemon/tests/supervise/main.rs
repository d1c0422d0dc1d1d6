// SPDX-License-Identifier: GPL-2.0
//! The supervisor as a process, with the device passed in the way systemd does it.

#[path = "../common/mod.rs"]
mod common;
mod process;
mod reload;

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cachefiles_daemon::control;
use cachefiles_protocol::{Read, WireMessage, recv_fds};
use rustix::process::{Pid, Signal, kill_process};

use common::{FakeDevice, PROGRAM, wait_for};
use process::Supervisor;

#[test]
fn a_test_that_fails_leaves_no_process_behind() {
    let (_kernel, device) = FakeDevice::new();
    let supervisor = Supervisor::start(device, &[]);
    let worker = supervisor.wait_worker(1);
    let own = Pid::from_child(&supervisor.child);
    let failed = std::thread::spawn(move || {
        let _supervisor = supervisor;
        std::panic::resume_unwind(Box::new("as a failed assertion does"));
    });
    failed.join().unwrap_err();
    for process in [own, worker] {
        wait_for("the end of a process", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
            // Nobody may have waited for the worker yet.
            stat.map_or(true, |stat| stat.contains(") Z "))
                .then_some(())
        });
    }
}

#[test]
fn a_killed_worker_is_replaced_after_restore() {
    let (kernel, device) = FakeDevice::new();
    let supervisor = Supervisor::start(device, &["--backoff-max", "10"]);
    // The device was bound by an earlier start, so requests may wait already.
    assert_eq!(wait_for("restore", || kernel.command()), "restore");
    let mut last = supervisor.wait_worker(1);
    for count in 2..6 {
        assert_eq!(kernel.command(), None);
        kernel.send(&WireMessage::Read(Read {
            msg_id: 7,
            object_id: 1,
            off: 0,
            len: 4096,
        }));
        wait_for("the READ", || {
            supervisor.stats().filter(|stats| stats.reads == count - 1)
        });
        kill_process(last, Signal::KILL).unwrap();
        assert_eq!(wait_for("restore", || kernel.command()), "restore");
        let next = supervisor.wait_worker(count);
        assert_ne!(next, last);
        last = next;
    }
    let pid_file = supervisor.path("pid");
    assert_eq!(supervisor.stats().unwrap().reads_again, 3);
    let dir = supervisor.dir.path().to_owned();
    assert!(dir.exists() && pid_file.exists());
    assert_eq!(supervisor.stop(), Some(0));
    assert!(
        rustix::process::test_kill_process(last).is_err(),
        "the worker outlived its supervisor"
    );
}

#[test]
fn systemd_hears_of_it_when_a_worker_serves() {
    let (_kernel, device) = FakeDevice::new();
    let supervisor = Supervisor::start(device, &[]);
    let mut text = [0; 256];
    let length = supervisor.notifications.recv(&mut text).unwrap();
    assert_eq!(
        std::str::from_utf8(&text[..length]).unwrap().trim(),
        "READY=1"
    );
    assert_eq!(supervisor.stats().unwrap().workers, 1);
    assert_eq!(supervisor.stop(), Some(0));
}

#[test]
fn the_device_is_once_in_the_worker_and_in_nothing_it_inherits() {
    let (_kernel, device) = FakeDevice::new();
    let link = fs::read_link(format!("/proc/self/fd/{}", device.as_raw_fd())).unwrap();
    let supervisor = Supervisor::start(device, &[]);
    let worker = supervisor.wait_worker(1);
    let fds = fs::read_dir(format!("/proc/{}/fd", worker.as_raw_nonzero())).unwrap();
    let holding: Vec<PathBuf> = fds
        .map(|fd| fd.unwrap().path())
        .filter(|fd| fs::read_link(fd).is_ok_and(|at| at == link))
        .collect();
    assert_eq!(holding.len(), 1, "{holding:?}");
    let number = holding[0].file_name().unwrap().to_str().unwrap();
    let info =
        fs::read_to_string(format!("/proc/{}/fdinfo/{number}", worker.as_raw_nonzero())).unwrap();
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .unwrap()
        .trim();
    assert_ne!(
        u32::from_str_radix(flags, 8).unwrap() & 0o2000000,
        0,
        "not close-on-exec: {flags}"
    );
    assert_eq!(supervisor.stop(), Some(0));
}

#[test]
fn it_gives_up_when_no_worker_starts_and_says_why() {
    let (_kernel, device) = FakeDevice::new();
    let dir = tempfile::tempdir().unwrap();
    let stderr = dir.path().join("stderr");
    let script = r#"exec 3<&0 </dev/null 2>"$ERRORS"; LISTEN_PID=$$ exec "$0" "$@""#;
    let status = Command::new("sh")
        .args([
            "-c",
            script,
            PROGRAM,
            "supervise",
            "--blobs",
            "/absent",
            "--start-attempts",
            "3",
            "--runtime-dir",
        ])
        .arg(dir.path())
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "cachefiles")
        .env("ERRORS", &stderr)
        .stdin(Stdio::from(device))
        .status()
        .unwrap();
    let errors = fs::read_to_string(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("the worker cannot be started: 3 attempts"),
        "{errors}"
    );
    assert_eq!(
        errors
            .matches("cannot open the directory of blobs /absent")
            .count(),
        3,
        "{errors}"
    );
}

#[test]
fn it_binds_the_cache_and_stores_the_device_with_systemd() {
    let dir = tempfile::tempdir().unwrap();
    let (device, notify) = (dir.path().join("device"), dir.path().join("notify"));
    File::create(&device).unwrap();
    let notifications = UnixDatagram::bind(&notify).unwrap();
    // An ordinary file takes the commands, but no worker can wait for it, so this ends soon.
    let status = Command::new(PROGRAM)
        .args([
            "supervise",
            "--blobs",
            "/",
            "--dir",
            "/some/dir",
            "--tag",
            "name",
            "--bcull",
            "6",
            "--timeout=5",
            "--readahead=512",
            "--linger=60",
            "--daemonless",
            "--mixed",
        ])
        .args(["--start-attempts", "1", "--runtime-dir"])
        .arg(dir.path())
        .arg("--device")
        .arg(&device)
        .env("NOTIFY_SOCKET", &notify)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    let commands = fs::read_to_string(&device).unwrap();
    let wanted = [
        "frun 99%fstop 0%fcull 5%frun 7%fstop 1%",
        "brun 99%bstop 0%bcull 6%brun 7%bstop 1%",
        "timeout 5linger 60readahead 512daemonless 1mixed 1",
        "dir /some/dirtag namebind ondemand",
        // The worker says it again, of a device that another may have bound.
        "timeout 5linger 60readahead 512",
    ];
    assert_eq!(commands, wanted.concat());
    let mut text = [0; 256];
    let (length, fds) = recv_fds(&notifications, &mut text).unwrap();
    let text = std::str::from_utf8(&text[..length]).unwrap();
    assert!(
        text.contains("FDSTORE=1") && text.contains("FDNAME=cachefiles"),
        "{text}"
    );
    let [stored] = <[OwnedFd; 1]>::try_from(fds).unwrap();
    rustix::fs::seek(&stored, rustix::fs::SeekFrom::Start(0)).unwrap();
    let mut again = String::new();
    File::from(stored).read_to_string(&mut again).unwrap();
    assert_eq!(again, commands);
}

#[test]
fn the_device_passes_from_an_orphaned_worker_to_who_serves_the_same_cache() {
    let (kernel, device) = FakeDevice::new();
    let mut supervisor = Supervisor::start(device, &[]);
    let worker = supervisor.wait_worker(1);
    assert_eq!(wait_for("restore", || kernel.command()), "restore");
    let dir = fs::canonicalize(supervisor.dir.path()).unwrap();
    let socket = control::path(&supervisor.path("run"));
    // Nobody is there as long as the socket is not listened to.
    let refused = wait_for("the refusal", || control::adopt(&socket, &dir).err());
    let refused = refused.to_string();
    let reason = format!("my supervisor lives: process {}", supervisor.child.id());
    assert!(refused.contains(&reason), "{refused}");

    supervisor.child.kill().unwrap();
    supervisor.child.wait().unwrap();
    assert!(rustix::process::test_kill_process(worker).is_ok());
    let other = control::adopt(&socket, dir.parent().unwrap()).unwrap_err();
    assert!(other.to_string().contains("my cache is in"), "{other}");
    let device = control::adopt(&socket, &dir).unwrap().unwrap();
    // Nobody waits for it but us, so it is as good as gone when it is a zombie.
    let stat = fs::read_to_string(format!("/proc/{}/stat", worker.as_raw_nonzero()));
    assert!(stat.is_err() || stat.unwrap().contains(") Z "));
    device.restore().unwrap();
    assert_eq!(kernel.command().as_deref(), Some("restore"));
}

#[test]
fn counters_of_a_supervisor_that_runs_are_not_emptied_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let stats = dir.path().join("stats");
    fs::write(&stats, "counters").unwrap();
    let status = Command::new(PROGRAM)
        .args([
            "supervise",
            "--blobs",
            "/",
            "--dir",
            "/x",
            "--device",
            "/dev/absent",
        ])
        .arg("--stats")
        .arg(&stats)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(fs::read_to_string(&stats).unwrap(), "counters");
}
