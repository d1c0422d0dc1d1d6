// SPDX-License-Identifier: GPL-2.0
//! Machines made of a few files.

use std::fs;

use tempfile::TempDir;

use super::*;

const RELEASE: &str = "6.12.118+deb13-amd64";
const STOCK: &str = "kernel/fs/netfs/netfs.ko.xz:\nkernel/fs/cachefiles/cachefiles.ko.xz: kernel/fs/netfs/netfs.ko.xz\n\
                     kernel/fs/erofs/erofs.ko.xz: kernel/lib/lz4/lz4_decompress.ko.xz\n";
const WITH_OURS: &str = "kernel/fs/netfs/netfs.ko.xz:\nupdates/dkms/cachefiles.ko.xz: kernel/fs/netfs/netfs.ko.xz\n\
                         updates/dkms/erofs.ko.xz: kernel/fs/netfs/netfs.ko.xz kernel/lib/lz4/lz4_decompress.ko.xz\n";

struct World {
    root: TempDir,
    parameters: Option<&'static str>,
    mkfs: Option<&'static str>,
}

impl World {
    fn new(files: &[(&str, &str)], parameters: Option<&'static str>) -> Self {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Self {
            root,
            parameters,
            mkfs: None,
        }
    }

    fn of(&self, what: &str, release: &str) -> Verdict {
        let parameters = |name: &str| {
            assert_eq!(name, "cachefiles");
            self.parameters.map(str::to_owned)
        };
        let machine = Machine {
            root: self.root.path(),
            release: release.to_owned(),
            parameters: &parameters,
            mkfs_version: &|| self.mkfs.map(str::to_owned),
        };
        let mut findings = machine.look().into_iter();
        findings
            .find(|finding| finding.what == what)
            .unwrap()
            .verdict
    }

    fn line(&self, what: &str) -> String {
        let verdict = self.of(what, RELEASE);
        Finding { what: "x", verdict }.to_string()
    }
}

const DEP: &str = "lib/modules/6.12.118+deb13-amd64/modules.dep";
const BUILTIN: &str = "lib/modules/6.12.118+deb13-amd64/modules.builtin";
const EROFS: &str = "EROFS with its on-demand mode";

#[test]
fn a_stock_kernel_lacks_both_modes() {
    let world = World::new(
        &[
            (DEP, STOCK),
            ("sys/module/cachefiles/parameters/debug", "0"),
            ("proc/kallsyms", "0 t cachefiles_daemon_open [cachefiles]\n"),
            ("dev/cachefiles", ""),
        ],
        None,
    );
    assert_eq!(world.line("cachefiles"), "ok       x: runs; the C module");
    assert!(
        world
            .line("its on-demand mode")
            .starts_with("MISSING  x: the C module that runs")
    );
    assert!(world.line(EROFS).contains("erofs-ondemand-dkms"));
    assert_eq!(world.line("/dev/cachefiles"), "ok       x: is there");
}

#[test]
fn what_modprobe_would_take_is_told_before_it_runs() {
    let ours = World::new(
        &[(DEP, WITH_OURS)],
        Some("debug:CacheFiles debugging mask (uint)\nreopen_tries:How often (uint)\n"),
    );
    assert_eq!(
        ours.line("cachefiles"),
        "ok       x: not loaded; updates/dkms/cachefiles.ko.xz, in Rust, with failover"
    );
    assert_eq!(ours.line("its on-demand mode"), "ok       x: is part of it");
    assert_eq!(
        ours.line(EROFS),
        "ok       x: not loaded; updates/dkms/erofs.ko.xz"
    );
    assert!(ours.line("/dev/cachefiles").contains("modprobe cachefiles"));
    let c = World::new(
        &[(DEP, STOCK)],
        Some("debug:CacheFiles debugging mask (uint)\n"),
    );
    assert!(c.line("cachefiles").ends_with("the C module"));
    assert!(c.line("its on-demand mode").starts_with("unknown"));
}

#[test]
fn symbols_tell_the_modes_of_what_runs() {
    let symbols =
        "0 t cachefiles_ondemand_daemon_read [cachefiles]\n0 t erofs_fscache_register_fs [erofs]\n";
    let world = World::new(
        &[
            (DEP, STOCK),
            ("sys/module/cachefiles/parameters/debug", "0"),
            ("sys/module/erofs/x", ""),
            ("proc/kallsyms", symbols),
        ],
        None,
    );
    assert!(
        world
            .line("its on-demand mode")
            .starts_with("ok       x: of the C module")
    );
    let ours = [
        ("sys/module/cachefiles/parameters/reopen_tries", "3"),
        ("sys/module/cachefiles/version", "0.1.0\n"),
    ];
    let wanted = "ok       x: runs; in Rust, with failover, version 0.1.0";
    assert_eq!(World::new(&ours, None).line("cachefiles"), wanted);
    let mut set = ours.to_vec();
    set.extend([
        ("sys/module/cachefiles/parameters/async_reads", "Y\n"),
        ("sys/module/cachefiles/parameters/linger", "60\n"),
        ("sys/module/cachefiles/parameters/readahead", "0\n"),
    ]);
    let wanted = format!("{wanted}; parameters: async_reads=Y linger=60");
    assert_eq!(World::new(&set, None).line("cachefiles"), wanted);
    // A module that runs counts, not the one that would be loaded next.
    assert_eq!(world.line(EROFS), "ok       x: runs");
    fs::write(
        world.root.path().join("proc/kallsyms"),
        "0 t other_erofs_fscache_\n",
    )
    .unwrap();
    assert!(world.line(EROFS).starts_with("MISSING"));
    // A kernel without a list of its symbols.
    fs::remove_file(world.root.path().join("proc/kallsyms")).unwrap();
    assert!(world.line(EROFS).starts_with("unknown"));
    assert!(world.line("its on-demand mode").starts_with("unknown"));
}

#[test]
fn nothing_is_said_that_is_not_known() {
    let dep = "kernel/fs/erofs/erofs.ko:\nkernel/fs/erofs/erofs.kov:\nkernel/fs/cachefiles/cachefiles.ko:\n";
    let world = World::new(&[(DEP, dep), (BUILTIN, "kernel/fs/netfs/netfs.ko\n")], None);
    assert!(world.line(EROFS).starts_with("unknown"));
    assert!(world.line("cachefiles").ends_with("by whom cannot be told"));
    assert!(world.line("its on-demand mode").starts_with("unknown"));
}

#[test]
fn an_empty_machine_lacks_everything() {
    let world = World::new(&[], None);
    for what in ["cachefiles", "its on-demand mode", "/dev/cachefiles", EROFS] {
        assert!(world.line(what).starts_with("MISSING"), "{what}");
    }
    assert!(matches!(world.of("kernel", "6.12.1"), Verdict::Good(_)));
    assert!(matches!(world.of("kernel", "6.1.0"), Verdict::Missing(..)));
}

#[test]
fn a_directory_is_tried_out() {
    let root = tempfile::tempdir().unwrap();
    let absent = dir::look(&root.path().join("absent"));
    assert!(matches!(absent, Verdict::Missing(..)));
    // Where the tests' own directory cannot hold a cache either, that is told.
    assert!(!matches!(dir::look(root.path()), Verdict::Unknown(_)));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    // Where there is no tmpfs in its usual place, there is none to be seen through.
    let shm = Path::new("/dev/shm");
    if rustix::fs::statfs(shm).is_ok_and(|stat| stat.f_type == dir::TMPFS_MAGIC) {
        assert!(matches!(dir::look(shm), Verdict::Missing(..)));
    }
    // procfs makes no files.
    assert!(!matches!(
        dir::look(Path::new("/proc/self")),
        Verdict::Good(_)
    ));
}

#[test]
fn who_holds_the_device_is_named() {
    let files = [
        ("dev/cachefiles", ""),
        ("proc/712/cmdline", "/usr/bin/nydusd\0"),
    ];
    let world = World::new(&files, None);
    let fds = world.root.path().join("proc/712/fd");
    fs::create_dir(&fds).unwrap();
    std::os::unix::fs::symlink("/dev/cachefiles", fds.join("7")).unwrap();
    let wanted = "ok       x: is there; it is held by process 712 (/usr/bin/nydusd)";
    assert_eq!(world.line("/dev/cachefiles"), wanted);
}

#[test]
fn options_of_the_kernel_are_told_where_they_can_be_seen() {
    let world = World::new(&[], None);
    assert!(world.line("kernel options").contains("not to be seen"));
    let all = "CONFIG_CACHEFILES=m\nCONFIG_CACHEFILES_ONDEMAND=y\nCONFIG_EROFS_FS=m\n\
               CONFIG_EROFS_FS_ONDEMAND=y\n";
    for place in [
        "boot/config-6.12.118+deb13-amd64",
        "lib/modules/6.12.118+deb13-amd64/build/.config",
    ] {
        let line = World::new(&[(place, all)], None).line("kernel options");
        assert!(line.starts_with("ok "), "{line}");
        assert!(line.contains("CONFIG_EROFS_FS_ONDEMAND=y"), "{line}");
        let stock = "CONFIG_CACHEFILES=m\n# CONFIG_CACHEFILES_ONDEMAND is not set\n\
                     CONFIG_EROFS_FS=m\n# CONFIG_EROFS_FS_ONDEMAND is not set\n";
        let line = World::new(&[(place, stock)], None).line("kernel options");
        let wanted =
            "note     x: without CONFIG_CACHEFILES_ONDEMAND and CONFIG_EROFS_FS_ONDEMAND\n";
        assert!(line.starts_with(wanted), "{line}");
    }
}

#[test]
fn a_package_that_is_not_built_for_this_kernel_is_told() {
    let none = World::new(&[], None).line("DKMS packages");
    assert_eq!(none, "ok       x: none is installed");
    let built = "var/lib/dkms/cachefiles-rs/1/6.12.118+deb13-amd64/x86_64/log/make.log";
    let world = World::new(&[(built, "")], None);
    assert!(world.line("DKMS packages").ends_with(": cachefiles-rs"));
    let other = "var/lib/dkms/erofs-ondemand/1/6.12.95+deb13-amd64/x86_64/log/make.log";
    let line = World::new(&[(built, ""), (other, "")], None).line("DKMS packages");
    assert!(line.starts_with("note     x: erofs-ondemand not built for 6.12.118"));
}

#[test]
fn modules_that_must_be_signed_are_told_before_modprobe_fails() {
    const VARIABLE: &str =
        "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    const ENFORCE: &str = "sys/module/module/parameters/sig_enforce";
    const LOCKDOWN: &str = "sys/kernel/security/lockdown";
    let line = |files: &[(&str, &str)]| World::new(files, None).line("signed modules");
    assert_eq!(line(&[]), "ok       x: not needed; no Secure Boot");
    let off = line(&[(VARIABLE, "\x06\0\0\0\0"), (ENFORCE, "N\n")]);
    assert_eq!(off, "ok       x: not needed; Secure Boot is off");
    let open = "[none] integrity confidentiality\n";
    let on = line(&[(VARIABLE, "\x06\0\0\0\x01"), (LOCKDOWN, open)]);
    assert_eq!(on, "ok       x: not needed; Secure Boot is on");
    let enforced = line(&[(ENFORCE, "Y\n")]);
    assert!(enforced.contains("mokutil --import"), "{enforced}");
    let locked = (LOCKDOWN, "none [integrity] confidentiality\n");
    let locked_down = line(&[locked, (VARIABLE, "\x06\0\0\0\x01")]);
    assert!(locked_down.starts_with("note     x: needed (Secure Boot is on)"));
    let runs = line(&[locked, ("sys/module/cachefiles/parameters/debug", "0")]);
    assert!(runs.starts_with("ok       x: needed; no Secure Boot; cachefiles runs"));
}

#[test]
fn the_daemon_of_the_other_mode_is_in_the_way() {
    let line = |files: &[(&str, &str)]| World::new(files, None).line("cachefilesd");
    assert_eq!(line(&[]), "ok       x: not in the way");
    let other = ("proc/9/comm", "nydusd\n");
    let runs = line(&[other, ("proc/77/comm", "cachefilesd\n")]);
    assert!(
        runs.starts_with("MISSING  x: runs, as process 77\n"),
        "{runs}"
    );
    let starts = line(&[other, ("etc/default/cachefilesd", "# x\nRUN=\"yes\"\n")]);
    assert!(starts.starts_with("note     x: will start"), "{starts}");
    let unit = "etc/systemd/system/multi-user.target.wants/cachefilesd.service";
    assert!(line(&[(unit, "")]).starts_with("note"));
    assert!(line(&[("etc/default/cachefilesd", "RUN=no\n")]).starts_with("ok"));
}

#[test]
fn an_mkfs_that_is_old_or_not_there_is_no_error() {
    let mut world = World::new(&[], None);
    assert!(
        world
            .line("mkfs.erofs")
            .starts_with("note     x: not installed")
    );
    for (said, wanted) in [
        ("mkfs.erofs (erofs-utils) 1.8.6", "ok       x: 1.8"),
        ("mkfs.erofs 1.10", "ok       x: 1.10"),
        ("mkfs.erofs 1.5", "note     x: 1.5 is old"),
        ("mkfs.erofs gitversion", "note     x: of an unknown version"),
    ] {
        world.mkfs = Some(said);
        assert!(world.line("mkfs.erofs").starts_with(wanted), "{said}");
    }
}

#[test]
fn a_disk_that_is_full_is_told_by_the_limits() {
    let state = |blocks, files| {
        let verdict = dir::free_space_of(blocks, files);
        Finding { what: "x", verdict }.to_string()
    };
    assert!(state(5, 100).starts_with("ok "));
    assert!(state(4, 100).starts_with("note "));
    assert!(state(100, 4).starts_with("note "));
    assert!(state(0, 100).starts_with("MISSING "));
    assert!(state(100, 0).starts_with("MISSING "));
}
