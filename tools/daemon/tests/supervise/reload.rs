// SPDX-License-Identifier: GPL-2.0
//! What a supervisor does on SIGHUP.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::common::{FakeDevice, wait_for};
use super::process::Supervisor;

#[test]
fn sighup_moves_the_metrics_only_to_where_they_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config");
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let write = |path: &Path| fs::write(&config, format!("metrics = {path:?}")).unwrap();
    write(&first);
    let (_kernel, device) = FakeDevice::new();
    let supervisor = Supervisor::start(device, &["--config", config.to_str().unwrap()]);
    let worker = supervisor.wait_worker(1);
    wait_for("the first socket", || first.exists().then_some(()));
    let hang_up = || kill_process(Pid::from_child(&supervisor.child), Signal::HUP).unwrap();
    // In place of the file there would be a socket.
    write(&config);
    hang_up();
    wait_for("a refusal", || {
        let log = fs::read_to_string(supervisor.path("log")).unwrap();
        log.contains("not reloaded, the worker stays").then_some(())
    });
    assert!(config.is_file() && first.exists());
    assert_eq!(supervisor.worker(), Some(worker));
    write(&second);
    hang_up();
    supervisor.wait_worker(2);
    wait_for("the other socket", || second.exists().then_some(()));
    assert_eq!(supervisor.stop(), Some(0));
}

#[test]
fn sighup_replaces_the_worker_and_keeps_the_device() {
    let (kernel, device) = FakeDevice::new();
    let supervisor = Supervisor::start(device, &[]);
    assert_eq!(wait_for("restore", || kernel.command()), "restore");
    let mut last = supervisor.wait_worker(1);
    for count in 2..4 {
        kill_process(Pid::from_child(&supervisor.child), Signal::HUP).unwrap();
        let next = supervisor.wait_worker(count);
        assert_eq!(wait_for("restore", || kernel.command()), "restore");
        assert_ne!(next, last);
        let gone = || rustix::process::test_kill_process(last).is_err();
        wait_for("the end of the last worker", || gone().then_some(()));
        last = next;
    }
    assert_eq!(supervisor.stop(), Some(0));
}

#[test]
fn sighup_reads_the_configuration_again_unless_it_is_wrong() {
    let config = tempfile::NamedTempFile::new().unwrap();
    fs::write(config.path(), "tries = 5\nthreads = 7\n").unwrap();
    let (_kernel, device) = FakeDevice::new();
    let supervisor = Supervisor::start(device, &["--config", config.path().to_str().unwrap()]);
    let options = |worker: Pid| {
        let path = format!("/proc/{}/cmdline", worker.as_raw_nonzero());
        fs::read_to_string(path).unwrap().replace('\0', " ")
    };
    let hang_up = || kill_process(Pid::from_child(&supervisor.child), Signal::HUP).unwrap();
    let first = supervisor.wait_worker(1);
    // What is given has the last word.
    let given = options(first);
    assert!(
        given.contains("--tries 5") && given.contains("--threads 2"),
        "{given}"
    );

    for (wrong, said) in [
        ("\ntries = 0", ":2: tries: invalid value '0'"),
        ("dir = [", ":1: "),
        ("colour = 1", ":1: unknown key colour"),
    ] {
        fs::write(config.path(), wrong).unwrap();
        hang_up();
        let log = || fs::read_to_string(supervisor.path("log")).unwrap();
        let is_said = || log().contains(said).then(log);
        let log = wait_for(said, is_said);
        assert!(log.contains("not reloaded, the worker stays"), "{log}");
    }
    assert_eq!(supervisor.worker(), Some(first));
    assert_eq!(supervisor.stats().unwrap().workers, 1);

    fs::write(config.path(), "tries = 6").unwrap();
    hang_up();
    let second = supervisor.wait_worker(2);
    assert_ne!(second, first);
    assert!(options(second).contains("--tries 6"), "{}", options(second));
    assert_eq!(supervisor.stop(), Some(0));
}

#[test]
fn sighup_names_each_key_that_stays_as_it_was() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |text: &str| fs::write(file.path(), text).unwrap();
    write("tag = 'a'\nlinger = 60\nreadahead = 512\n");
    let (kernel, device) = FakeDevice::new();
    let supervisor = Supervisor::start(device, &["--config", file.path().to_str().unwrap()]);
    let first = supervisor.wait_worker(1);
    for command in ["restore", "linger 60", "readahead 512"] {
        assert_eq!(wait_for(command, || kernel.command()), command);
    }
    let hang_up = || kill_process(Pid::from_child(&supervisor.child), Signal::HUP).unwrap();
    write("tag = 'b'\nbstop = 2\npid_file = '/p'\nlinger = 30\ntimeout = 9\n");
    hang_up();
    assert_ne!(supervisor.wait_worker(2), first);
    let log = fs::read_to_string(supervisor.path("log")).unwrap();
    for wanted in [
        "tag: \"a\" stays in force; for \"b\", stop this",
        "bstop: 1 stays in force; for 2, stop this",
        "readahead: 512 stays in force; for the default, stop this",
    ] {
        assert!(log.contains(wanted), "no {wanted} in: {log}");
    }
    assert_eq!(log.matches("stays in force").count(), 3, "{log}");
    // These hold at once: by the supervisor, and each worker says its own.
    let mut told = Vec::new();
    wait_for("timeout and linger", || {
        told.extend(kernel.command());
        let has = |command: &str| told.iter().any(|it| it == command);
        (has("timeout 9") && has("linger 30")).then_some(())
    });
    // And those that stay are still known as they are.
    hang_up();
    supervisor.wait_worker(3);
    let log = fs::read_to_string(supervisor.path("log")).unwrap();
    assert_eq!(log.matches("tag: \"a\" stays").count(), 2, "{log}");
    assert_eq!(supervisor.stop(), Some(0));
}
