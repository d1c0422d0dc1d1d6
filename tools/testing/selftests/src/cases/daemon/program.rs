// SPDX-License-Identifier: GPL-2.0
//! The daemon's program, running as a child: `cachefiles-ondemandd supervise`.

use std::cell::RefCell;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_protocol::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::context::{Context, TAG};
use crate::image::Image;
use crate::session::{Mount, blobs_of};
use crate::sys;
use crate::task::soon;
use crate::web::Web;

const PROGRAM: &str = "cachefiles-ondemandd";

/// A supervisor with its worker, and the directory that its blobs lie in.
pub struct Daemon {
    supervisor: RefCell<Child>,
    work: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts it, and returns when it serves.
    pub fn start(ctx: &Context, more: &[&str]) -> Result<Self> {
        Self::spawn(ctx, "daemon", more)?.serving()
    }

    /// The same, with the blobs of a web server.
    pub fn start_from_web(ctx: &Context, web: &Web, more: &[&str]) -> Result<Self> {
        let url = web.url();
        let arguments = [&["--url", &*url][..], more].concat();
        Self::spawn_from(ctx, "daemon", &arguments)?.serving()
    }

    fn serving(self) -> Result<Self> {
        let daemon = self;
        sys::wait_for("the daemon to serve", soon(), || {
            daemon.has_ended() || daemon.log().contains("serving")
        })?;
        ensure!(!daemon.has_ended(), "the daemon ended: {}", daemon.log());
        Ok(daemon)
    }

    /// Starts it; it logs to a file of this name.
    pub fn spawn(ctx: &Context, name: &str, more: &[&str]) -> Result<Self> {
        let dir = blob_dir(ctx);
        fs::create_dir_all(&dir)?;
        let dir = dir.to_str().context("a path that is no text")?;
        Self::spawn_from(ctx, name, &[&["--blobs", dir][..], more].concat())
    }

    fn spawn_from(ctx: &Context, name: &str, more: &[&str]) -> Result<Self> {
        let work = ctx.work.clone();
        let log = work.join(name).with_extension("log");
        let supervisor = command()
            .args(["supervise", "--dir", sys::CACHE, "--tag", TAG])
            .arg("--pid-file")
            .arg(work.join("worker.pid"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("starting the daemon")?;
        Ok(Self {
            supervisor: RefCell::new(supervisor),
            work,
            log,
        })
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The lines of its log that have all of these words.
    pub fn lines_with(&self, words: &[&str]) -> Vec<String> {
        self.log()
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .map(str::to_owned)
            .collect()
    }

    /// Mounts an image that it serves.
    pub fn mount(&self, ctx: &Context, fsid: &str) -> Result<Mount> {
        self.try_mount(ctx, fsid)?
            .with_context(|| format!("mounting {fsid}; the daemon says: {}", self.log()))
    }

    /// The same; the inner error is the kernel's.
    pub fn try_mount(&self, ctx: &Context, fsid: &str) -> Result<Result<Mount, Errno>> {
        let target = ctx.mount_point(fsid);
        fs::create_dir_all(&target)?;
        let mounted = sys::mount_erofs(&target, format!("fsid={fsid}").as_bytes());
        Ok(mounted.map(|()| Mount::at(target)))
    }

    /// Its worker.
    pub fn worker(&self) -> Result<Pid> {
        let text = fs::read_to_string(self.work.join("worker.pid")).context("no worker")?;
        Pid::from_raw(text.trim().parse()?).context("no process id")
    }

    /// Itself.
    pub fn supervisor(&self) -> Pid {
        Pid::from_child(&self.supervisor.borrow())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.supervisor(), signal).context("sending a signal to the supervisor")
    }

    /// Whether the supervisor is gone.
    pub fn has_ended(&self) -> bool {
        matches!(self.supervisor.borrow_mut().try_wait(), Ok(Some(_)))
    }

    /// How the supervisor ends, waiting for that for a while.
    pub fn ended(&self) -> Result<ExitStatus> {
        let mut status = None;
        sys::wait_for("the supervisor to end", soon(), || {
            status = self.supervisor.borrow_mut().try_wait().ok().flatten();
            status.is_some()
        })?;
        status.context("no status")
    }

    /// Stops it once nothing is mounted any more.
    pub fn stop(self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.ended()?;
        ensure!(status.success(), "{status}: {}", self.log());
        Ok(())
    }
}

/// Its program, beside this one.
fn command() -> Command {
    command_of(PROGRAM)
}

fn command_of(program: &str) -> Command {
    let beside = std::env::current_exe().map(|path| path.with_file_name(program));
    Command::new(beside.unwrap_or_else(|_| program.into()))
}

/// Runs the control tool to its end, and gives what it printed.
pub fn ctl(arguments: &[&str]) -> Result<String> {
    ctl_as("cachefilesctl", arguments)
}

/// Runs it under another name.
pub fn ctl_as(name: &str, arguments: &[&str]) -> Result<String> {
    let output = command_of("cachefilesctl")
        .arg0(name)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => bail!(
            "{arguments:?}: {}: {}{}",
            output.status,
            text(&output.stderr),
            text(&output.stdout)
        ),
    }
}

/// Runs another command of the program to its end, and gives what it logged.
pub fn run(arguments: &[&str]) -> Result<String> {
    let output = command().args(arguments).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.success() {
        true => Ok(text),
        false => bail!("{arguments:?}: {}: {text}", output.status),
    }
}

/// Where the blobs lie.
pub fn blob_dir(ctx: &Context) -> PathBuf {
    ctx.work.join("blobs")
}

/// Puts an image there, in place of one of that name.
pub fn put(ctx: &Context, fsid: &str, image: &Image) -> Result<()> {
    fs::create_dir_all(blob_dir(ctx))?;
    for (key, data) in blobs_of(fsid, image) {
        let name = String::from_utf8(key)?;
        fs::write(blob_dir(ctx).join(name), &*data)?;
    }
    Ok(())
}

/// Takes a mount down.
pub fn unmount(mount: Mount) -> Result<()> {
    mount.unmount().finish()?
}

/// That a file reads back as what it is.
pub fn check(mount: &Mount, name: &str, wanted: &[u8]) -> Result<()> {
    let data = fs::read(mount.file(name)).with_context(|| format!("reading {name}"))?;
    ensure!(data == wanted, "{name} has other content");
    Ok(())
}

/// That reading a file ends in EIO, and soon.
pub fn check_eio(path: &Path) -> Result<()> {
    let read = crate::task::read_in_background(path);
    match read.finish()? {
        Ok(data) => {
            let zeros = data.iter().filter(|&&byte| byte == 0).count();
            bail!(
                "{}: {} bytes were read, {zeros} zeros",
                path.display(),
                data.len()
            )
        }
        Err(error) => {
            let errno = error.raw_os_error();
            ensure!(
                errno == Some(Errno::IO.raw_os_error()),
                "{}: {error}",
                path.display()
            );
            Ok(())
        }
    }
}
