// SPDX-License-Identifier: GPL-2.0
//! One reader, one daemon, 4 KiB at a time that are not in the cache. And the floor below it: two
//! processes that wake each other through pipes, and a direct write of 4 KiB to the same disk.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::image::BLOCK;
use cachefiles_harness::sys;
use cachefiles_protocol::AlignedBuffer;
use rustix::fs::OFlags;
use rustix::time::{ClockId, clock_gettime};

use super::Bench;
use crate::daemon::{Daemon, Taken};
use crate::{image, pool};

/// Requests before those that count.
const WARM_UP: usize = 32;

/// The other process: this program, started again.
pub struct Partner {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What it does.
#[derive(clap::Subcommand)]
pub enum Part {
    /// Reads pages of a file: first page and count come as lines, the CPU time of each goes back.
    Read {
        /// The file.
        file: PathBuf,
    },
    /// Sends a byte and waits for one, as often as a line says.
    Ping,
    /// Holds the fds that it was given, and does nothing.
    Hold,
}

impl Part {
    /// Does it until there is no more input.
    pub fn play(self) -> Result<()> {
        let mut input = BufReader::new(std::io::stdin());
        let mut output = std::io::stdout();
        let file = match &self {
            Self::Read { file } => Some(pool::open(file)?),
            Self::Ping | Self::Hold => None,
        };
        writeln!(output, "ready")?;
        let mut line = String::new();
        while input.read_line(&mut line)? > 0 {
            let numbers: Vec<u64> = line
                .split_whitespace()
                .map(str::parse)
                .collect::<Result<_, _>>()?;
            let [first, count] = numbers[..] else {
                anyhow::bail!("not two numbers: {line}");
            };
            let start = cpu_time();
            let mut byte = [0];
            for page in first..first + count {
                match &file {
                    Some(file) => file.read_exact_at(&mut byte, page * BLOCK as u64)?,
                    None => {
                        output.write_all(b"\n")?;
                        input.read_exact(&mut byte)?;
                    }
                }
            }
            writeln!(output, "{}", cpu_time() - start)?;
            line.clear();
        }
        Ok(())
    }
}

/// CPU time of this thread, in nanoseconds: instructions.
pub fn cpu_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Partner {
    /// Starts one. It is ready when it says so.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg("part")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a process")?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self {
            child,
            input,
            output,
        })
    }

    /// A reader of a file.
    pub fn reader(daemon: &mut Daemon, file: &Path) -> Result<Self> {
        let mut partner = Self::start(&["read", file.to_str().context("a path that is no text")?])?;
        // Opening the file reads the inode.
        daemon.serve_until("the reader", |_| partner.has_spoken())?;
        ensure!(partner.line()? == "ready", "the reader did not start");
        Ok(partner)
    }

    /// Whether it has written something.
    pub fn has_spoken(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(self.output.get_ref(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// What it has written.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Tells it what to do.
    pub fn ask(&mut self, first: usize, count: usize) -> Result<()> {
        Ok(self
            .input
            .write_all(format!("{first} {count}\n").as_bytes())?)
    }

    /// Lets it end.
    pub fn end(self) -> Result<()> {
        let Self {
            mut child,
            input,
            output,
        } = self;
        drop((input, output));
        ensure!(child.wait()?.success(), "a process failed");
        Ok(())
    }
}

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let mut daemon = Daemon::new()?;
    let mount = daemon.mount("cold", image::large("cold", 1, daemon.pages)?, "")?;
    let mut reader = Partner::reader(&mut daemon, &mount.file(0))?;
    let count = bench.requests;
    reader.ask(0, WARM_UP)?;
    serve(&mut daemon, WARM_UP)?;
    reader.line()?;
    bench.meter.quiesce();

    let (messages, own) = (daemon.messages(), cpu_time());
    let start = bench.begin();
    reader.ask(WARM_UP, count)?;
    serve(&mut daemon, count)?;
    let reader_time: u64 = reader.line()?.parse()?;
    bench.end(start, "cold", "round trip", None, count);
    let daemon_time = cpu_time() - own;
    let each = |value: u64| value as f64 / count as f64;
    let messages = (daemon.messages() - messages) as u64;
    bench
        .output
        .put("cold", "messages", None, each(messages), "messages");
    bench
        .output
        .instructions("cold", "reader", None, each(reader_time));
    bench
        .output
        .instructions("cold", "daemon", None, each(daemon_time));
    reader.end()?;
    daemon.unmount(mount)?;
    drop(daemon);
    floor(bench, count)
}

fn serve(daemon: &mut Daemon, count: usize) -> Result<()> {
    let mut served = 0;
    while served < count {
        if !daemon.device.wait_readable(None)? {
            continue;
        }
        if let Taken::Read(read) = daemon.take()? {
            daemon.answer(&read)?;
            served += 1;
        }
    }
    Ok(())
}

fn floor(bench: &mut Bench, count: usize) -> Result<()> {
    let path = Path::new(sys::CACHE).join("floor");
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .custom_flags(i32::try_from(OFlags::DIRECT.bits())?)
        .open(&path)?;
    file.set_len(((WARM_UP + count) * BLOCK) as u64)?;
    let mut partner = Partner::start(&["ping"])?;
    ensure!(partner.line()? == "ready", "the partner did not start");
    ping(&mut partner, &file, 0, WARM_UP)?;
    bench.meter.quiesce();
    let start = bench.begin();
    ping(&mut partner, &file, WARM_UP, count)?;
    bench.end(start, "cold", "floor", None, count);
    partner.end()?;
    drop(file);
    Ok(std::fs::remove_file(path)?)
}

fn ping(partner: &mut Partner, file: &File, first: usize, count: usize) -> Result<()> {
    let mut data = AlignedBuffer::new(BLOCK);
    data.fill(0x5a);
    partner.ask(first, count)?;
    let mut byte = [0];
    for page in first..first + count {
        partner.output.read_exact(&mut byte)?;
        file.write_all_at(&data, (page * BLOCK) as u64)?;
        partner.input.write_all(b"\n")?;
    }
    partner.line().map(drop)
}
