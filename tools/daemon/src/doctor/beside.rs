// SPDX-License-Identifier: GPL-2.0
//! What stands beside kernel and modules: how they were built, whether they may be loaded, who else
//! wants the device, what makes images.

use std::fs;
use std::process::{Command, Stdio};

use super::modules::{Modules, State};
use super::{Machine, Verdict, text};

/// What decides, in a kernel's configuration, whether on-demand mounts work without other modules.
const OPTIONS: [&str; 4] = [
    "CONFIG_CACHEFILES",
    "CONFIG_CACHEFILES_ONDEMAND",
    "CONFIG_EROFS_FS",
    "CONFIG_EROFS_FS_ONDEMAND",
];

/// The packages that bring what distributions leave out.
const PACKAGES: [&str; 2] = ["cachefiles-rs", "erofs-ondemand"];

/// The oldest mkfs.erofs whose images the tests are made with.
const OLDEST_MKFS: (u32, u32) = (1, 8);

const DKMS_WAY: &str = "install the kernel's headers and linux-source-6.12, then `dkms \
     autoinstall`; `dkms status` and /var/lib/dkms/*/*/build/make.log tell what went wrong";
const SIGN_WAY: &str = "DKMS signs with a key of this machine: `mokutil --import \
     /var/lib/dkms/mok.pub`, reboot, and enrol it in the blue screen; or switch Secure Boot off";

impl Machine<'_> {
    /// The options that the kernel was built with, where its configuration is installed.
    pub(super) fn options(&self) -> Verdict {
        let places = [
            format!("boot/config-{}", self.release),
            format!("lib/modules/{}/config", self.release),
            format!("lib/modules/{}/build/.config", self.release),
        ];
        let mut configs = places.iter().map(|place| text(&self.root.join(place)));
        let Some(config) = configs.find(|config| !config.is_empty()) else {
            return Verdict::Good("not to be seen here; what follows was tried out".into());
        };
        let value = |option: &str| {
            let mut lines = config.lines().filter_map(|line| line.split_once('='));
            lines.find_map(|(name, value)| (name == option).then(|| value.to_owned()))
        };
        let (set, unset): (Vec<_>, Vec<_>) = OPTIONS
            .iter()
            .map(|option| (option, value(option)))
            .partition(|(_, value)| value.is_some());
        let set = set
            .iter()
            .map(|(option, value)| format!("{option}={}", value.as_deref().unwrap_or_default()));
        let set: Vec<String> = set.collect();
        let unset: Vec<&str> = unset.iter().map(|(option, _)| **option).collect();
        match unset.is_empty() {
            true => Verdict::Good(set.join(", ")),
            false => Verdict::Doubtful(
                format!("without {}", unset.join(" and ")),
                "the modules of cachefiles-rs-dkms and erofs-ondemand-dkms have what is missing",
            ),
        }
    }

    /// Whether the packages that build modules have built them for this kernel.
    pub(super) fn dkms(&self) -> Verdict {
        let mut built = Vec::new();
        let mut lacking = Vec::new();
        for package in PACKAGES {
            let versions = fs::read_dir(self.root.join("var/lib/dkms").join(package));
            let Ok(versions) = versions else { continue };
            // `kernel-RELEASE-ARCH` beside them are links to the same.
            let is_built = versions
                .flatten()
                .any(|version| version.path().join(&self.release).is_dir());
            match is_built {
                true => built.push(package),
                false => lacking.push(package),
            }
        }
        match (built.is_empty(), lacking.is_empty()) {
            (_, false) => Verdict::Doubtful(
                format!("{} not built for {}", lacking.join(", "), self.release),
                DKMS_WAY,
            ),
            (false, true) => Verdict::Good(format!("built for this kernel: {}", built.join(", "))),
            (true, true) => Verdict::Good("none is installed".into()),
        }
    }

    /// Whether modules have to be signed, and so whether one that DKMS has built can be loaded.
    pub(super) fn signatures(&self, modules: &Modules<'_>) -> Verdict {
        let is_enforced = text(&self.root.join("sys/module/module/parameters/sig_enforce"))
            .trim_end()
            .eq("Y");
        let is_locked_down = {
            let lockdown = text(&self.root.join("sys/kernel/security/lockdown"));
            lockdown.contains("[integrity]") || lockdown.contains("[confidentiality]")
        };
        let secure_boot = match self.secure_boot() {
            Some(true) => "Secure Boot is on",
            Some(false) => "Secure Boot is off",
            None => "no Secure Boot",
        };
        if !is_enforced && !is_locked_down {
            return Verdict::Good(format!("not needed; {secure_boot}"));
        }
        match modules.state("cachefiles") {
            State::Running => Verdict::Good(format!("needed; {secure_boot}; cachefiles runs")),
            _ => Verdict::Doubtful(
                format!("needed ({secure_boot}), or modprobe says \"Key was rejected\""),
                SIGN_WAY,
            ),
        }
    }

    /// The firmware's variable: four bytes of attributes, and 1 or 0. None without UEFI.
    fn secure_boot(&self) -> Option<bool> {
        let name = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
        let path = self.root.join("sys/firmware/efi/efivars").join(name);
        fs::read(path).ok()?.get(4).map(|&value| value == 1)
    }

    /// Whether the daemon of the original mode has, or will have, the only device there is.
    pub(super) fn cachefilesd(&self) -> Verdict {
        const WAY: &str = "the device is for one daemon: `systemctl disable --now cachefilesd`, \
             if nothing is mounted with -o fsc or cache=fscache";
        let processes = fs::read_dir(self.root.join("proc"));
        let found = processes
            .into_iter()
            .flatten()
            .flatten()
            .find(|entry| text(&entry.path().join("comm")).trim_end() == "cachefilesd");
        if let Some(process) = found {
            let pid = process.file_name();
            let what = format!("runs, as process {}", pid.to_string_lossy());
            return Verdict::Missing(what, WAY);
        }
        let units = "etc/systemd/system/multi-user.target.wants/cachefilesd.service";
        let is_to_run = |line: &str| line.trim().replace('"', "") == "RUN=yes";
        let starts = fs::symlink_metadata(self.root.join(units)).is_ok()
            || text(&self.root.join("etc/default/cachefilesd"))
                .lines()
                .any(is_to_run);
        match starts {
            true => Verdict::Doubtful("will start with the system".into(), WAY),
            false => Verdict::Good("not in the way".into()),
        }
    }

    /// What the kernel prints at each on-demand mount, which frightens people.
    pub(super) fn deprecation(&self) -> Verdict {
        Verdict::Good(
            "\"[deprecated] fscache-based on-demand read feature in use\" comes with each mount; \
             it works for as long as Linux 6.12 does, and Linux 7.2 has it no more"
                .into(),
        )
    }

    /// Whether images can be made here, by a version that makes all kinds.
    pub(super) fn mkfs(&self) -> Verdict {
        const WAY: &str =
            "only for making images here: install erofs-utils 1.8 or later (Debian 13 has it)";
        let Some(said) = (self.mkfs_version)() else {
            return Verdict::Doubtful("not installed".into(), WAY);
        };
        match version(&said) {
            Some((major, minor)) if (major, minor) >= OLDEST_MKFS => {
                Verdict::Good(format!("{major}.{minor}"))
            }
            Some((major, minor)) => Verdict::Doubtful(format!("{major}.{minor} is old"), WAY),
            None => Verdict::Doubtful(format!("of an unknown version: {}", said.trim()), WAY),
        }
    }
}

/// The first number with a dot in it.
fn version(said: &str) -> Option<(u32, u32)> {
    said.split(|c: char| !c.is_ascii_digit() && c != '.')
        .find_map(|word| {
            let mut numbers = word.split('.').map(str::parse);
            match (numbers.next()?, numbers.next()?) {
                (Ok(major), Ok(minor)) => Some((major, minor)),
                _ => None,
            }
        })
}

/// What `mkfs.erofs` of this machine says.
pub(super) fn mkfs_version() -> Option<String> {
    let output = Command::new("mkfs.erofs")
        .arg("-V")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let first = String::from_utf8_lossy(&output.stdout);
    Some(first.lines().next().unwrap_or_default().to_owned())
}
