// SPDX-License-Identifier: GPL-2.0
//! Processes that tests need beside themselves: this program, started again. A daemon that can be
//! killed, and a reader that can be killed.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_protocol::Device;
use rustix::process::{Pid, Signal, kill_process};

use crate::session::{Blobs, Session};
use crate::sys;
use crate::task::{Task, soon};

/// What an actor does.
#[derive(clap::Subcommand)]
pub enum Part {
    /// A daemon: serves the blobs of a directory until it is killed.
    Serve {
        /// Files named after the cookie keys.
        blobs: PathBuf,
        /// The device is standard input; otherwise it is opened and bound here.
        #[arg(long)]
        inherited: bool,
        /// Write `restore` first.
        #[arg(long)]
        restore: bool,
        /// Take this long over each READ.
        #[arg(long, default_value_t = 0)]
        delay_ms: u64,
        /// Never answer a READ.
        #[arg(long)]
        mute: bool,
        /// All the while, close every fd that an object may have got.
        #[arg(long)]
        lose_fds: bool,
    },
    /// A daemon in the original mode, which does nothing but hold the cache until it is killed.
    HoldCache,
    /// Lives in a user namespace of its own until it is killed.
    UserNamespace,
    /// Mounts an image, and ends.
    Mount {
        /// Where.
        target: PathBuf,
        /// Of the mount.
        options: String,
    },
    /// Reads a file; says `ok` or the error.
    Read {
        /// The file.
        file: PathBuf,
    },
    /// Takes one message from the device, standard input, into a mapping of a file.
    Take {
        /// The file.
        file: PathBuf,
    },
    /// Lists a directory into a mapping of a file: locks it until the file can be read.
    List {
        /// The directory.
        directory: PathBuf,
        /// The file.
        file: PathBuf,
    },
}

impl Part {
    /// Does it.
    pub fn play(self) -> Result<()> {
        match self {
            Self::Serve {
                blobs,
                inherited,
                restore,
                delay_ms,
                mute,
                lose_fds,
            } => serve(
                &blobs,
                inherited,
                restore,
                Duration::from_millis(delay_ms),
                mute,
                lose_fds,
            ),
            Self::HoldCache => {
                let _device = crate::share::bind(sys::CACHE.as_ref(), crate::context::TAG, &[])?;
                say_ready_and_park()
            }
            Self::UserNamespace => {
                crate::raw::new_user_namespace()?;
                say_ready_and_park()
            }
            Self::Mount { target, options } => {
                sys::mount_erofs(&target, options.as_bytes()).context("mounting")
            }
            Self::Read { file } => {
                match fs::read(&file) {
                    Ok(data) => println!("ok {}", data.len()),
                    Err(error) => println!("{error}"),
                }
                Ok(())
            }
            Self::Take { file } => {
                let message =
                    crate::raw::read_into_mapping(std::io::stdin(), fs::File::open(file)?)?;
                println!("{}", message.len());
                Ok(())
            }
            Self::List { directory, file } => {
                let (directory, file) = (fs::File::open(directory)?, fs::File::open(file)?);
                println!("{}", crate::raw::list_into_mapping(&directory, &file)?);
                Ok(())
            }
        }
    }
}

/// Nothing more happens in this process until it is killed.
fn say_ready_and_park() -> Result<()> {
    println!("ready");
    std::io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}

fn serve(
    dir: &Path,
    inherited: bool,
    restore: bool,
    delay: Duration,
    mute: bool,
    lose_fds: bool,
) -> Result<()> {
    let device = if inherited {
        Device::from(rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?)
    } else {
        let device = Device::open()?;
        device.bind_ondemand(sys::CACHE.as_ref(), Some(crate::context::TAG))?;
        device
    };
    if restore {
        device.restore()?;
    }
    let mut session = Session::new(Arc::new(device), load_blobs(dir)?);
    session.hold_reads = Some(Box::new(move |_, _| {
        std::thread::sleep(delay);
        mute
    }));
    println!("ready");
    std::io::stdout().flush()?;
    if lose_fds {
        let first = session.device.as_fd().as_raw_fd() + 1;
        std::thread::spawn(move || {
            loop {
                for fd in first..first + 4 {
                    // EBADF most of the time.
                    let _ = crate::raw::close_number(fd);
                }
            }
        });
    }
    loop {
        if session.device.wait_readable(None)? {
            let result = session.step();
            // A daemon without its fds fails in what it does, and goes on.
            if !lose_fds {
                result?;
            }
        }
    }
}

/// Writes a table of blobs to a directory, for an actor to serve. Keys must be file names.
pub fn store_blobs(dir: &Path, blobs: &Blobs) -> Result<()> {
    fs::create_dir_all(dir)?;
    for (key, data) in blobs {
        fs::write(dir.join(std::str::from_utf8(key)?), data.as_slice())?;
    }
    Ok(())
}

fn load_blobs(dir: &Path) -> Result<Blobs> {
    let mut blobs = Blobs::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let key = entry.file_name().into_encoded_bytes();
        blobs.insert(key, Arc::new(fs::read(entry.path())?));
    }
    Ok(blobs)
}

/// A running actor; killed when dropped.
pub struct Actor {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl Actor {
    /// Starts one. `device` becomes its standard input.
    pub fn start(arguments: &[&str], device: Option<&Device>) -> Result<Self> {
        let input = match device {
            Some(device) => Stdio::from(OwnedFd::from(device.try_clone()?)),
            None => Stdio::null(),
        };
        let mut child = Command::new("/proc/self/exe")
            .arg("actor")
            .args(arguments)
            .stdin(input)
            .stdout(Stdio::piped())
            .spawn()
            .context("starting an actor")?;
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self { child, output })
    }

    /// A daemon that shares `device`, and is ready.
    pub fn daemon(device: &Device, blobs: &Path, flags: &[&str]) -> Result<Self> {
        let blobs = blobs.to_str().context("a path that is no text")?;
        let mut arguments = vec!["serve", blobs, "--inherited"];
        arguments.extend(flags);
        let mut actor = Self::start(&arguments, Some(device))?;
        actor.wait_ready()?;
        Ok(actor)
    }

    /// A daemon that opened the device itself, and is ready. Nobody else holds it.
    pub fn lone_daemon(blobs: &Path, flags: &[&str]) -> Result<Self> {
        let blobs = blobs.to_str().context("a path that is no text")?;
        let mut arguments = vec!["serve", blobs];
        arguments.extend(flags);
        let mut actor = Self::start(&arguments, None)?;
        actor.wait_ready()?;
        Ok(actor)
    }

    /// A process in a user namespace in which ids begin at `first`; and the namespace.
    pub fn user_namespace(first: u32) -> Result<(Self, fs::File)> {
        let mut actor = Self::start(&["user-namespace"], None)?;
        actor.wait_ready()?;
        let proc = PathBuf::from(format!("/proc/{}", actor.child.id()));
        for map in ["uid_map", "gid_map"] {
            fs::write(proc.join(map), format!("0 {first} 1000")).context(map)?;
        }
        let namespace = fs::File::open(proc.join("ns/user"))?;
        Ok((actor, namespace))
    }

    /// A daemon in the original mode that holds a bound cache.
    pub fn cache_holder() -> Result<Self> {
        let mut actor = Self::start(&["hold-cache"], None)?;
        actor.wait_ready()?;
        Ok(actor)
    }

    /// A process that reads a file.
    pub fn reader(file: &Path) -> Result<Self> {
        Self::start(
            &["read", file.to_str().context("a path that is no text")?],
            None,
        )
    }

    /// A process that mounts an image.
    pub fn mounter(target: &Path, options: &str) -> Result<Self> {
        let target = target.to_str().context("a path that is no text")?;
        Self::start(&["mount", target, options], None)
    }

    /// Sends SIGKILL, and does not wait for the end.
    pub fn signal_kill(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::KILL)?)
    }

    /// Stops it, as the freezer or a debugger does, and waits until it stands.
    pub fn stop(&self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::STOP)?;
        sys::wait_for("an actor to stop", soon(), || {
            crate::task::state(Path::new("/proc"), self.child.id() as i32) == Some('T')
        })
    }

    /// The opposite.
    pub fn go_on(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::CONT)?)
    }

    /// Whether it has `file` open, and sleeps in a `read`.
    pub fn waits_for(&self, file: &Path) -> bool {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        let fds = fs::read_dir(proc.join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        fds.filter(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == file))
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .any(|fd| crate::task::sleeps_in_read(Path::new("/proc"), self.child.id() as i32, fd))
    }

    /// A daemon that takes a message into memory that is `file`.
    pub fn slow_daemon(device: &Device, file: &Path) -> Result<Self> {
        let file = file.to_str().context("a path that is no text")?;
        Self::start(&["take", file], Some(device))
    }

    /// A process that lists `directory`, and keeps it locked until `file` can be read.
    pub fn lister(directory: &Path, file: &Path) -> Result<Self> {
        let words = [directory, file].map(|path| path.to_str().context("a path that is no text"));
        let [directory, file] = words;
        Self::start(&["list", directory?, file?], None)
    }

    /// Whether it is asleep in the kernel.
    pub fn sleeps(&self) -> bool {
        crate::task::sleeps(Path::new("/proc"), self.child.id() as i32)
    }

    /// Whether it sleeps in a `read` of its standard input.
    pub fn sleeps_in_read(&self) -> bool {
        crate::task::sleeps_in_read(Path::new("/proc"), self.child.id() as i32, 0)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let mut line = String::new();
        let output = self.output.as_mut().context("no output to read")?;
        output.read_line(&mut line)?;
        ensure!(line == "ready\n", "the actor did not start: {line:?}");
        Ok(())
    }

    /// Kills it with SIGKILL, and waits until it is gone with all its fds.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("killing an actor")?;
        let end = std::time::Instant::now() + soon();
        while self.child.try_wait()?.is_none() {
            if std::time::Instant::now() > end {
                bail!("an actor does not die of SIGKILL");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// What it said, when it has ended by itself.
    pub fn said(mut self) -> Result<String> {
        let mut output = self.output.take().context("no output to read")?;
        let task = Task::start("an actor", move || {
            let mut text = String::new();
            output.read_to_string(&mut text).map(|_| text)
        });
        Ok(task.finish()??.trim().to_owned())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Both fail only for a child that has already been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
