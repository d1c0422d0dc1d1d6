// SPDX-License-Identifier: GPL-2.0
//! The reader processes as their parent sees them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use crate::reader::{Share, Totals};

/// How many complaints of one reader are printed; they tend to be alike.
const MAX_COMPLAINTS: usize = 10;

/// All readers of one round. Dropping it kills those that still run.
#[derive(Debug, Default)]
pub struct Readers {
    readers: Vec<Reader>,
}

#[derive(Debug)]
struct Reader {
    child: Child,
    totals: Arc<Mutex<Totals>>,
    listener: Option<JoinHandle<()>>,
    finished: bool,
    failed: bool,
}

impl Readers {
    /// Starts `count` of them, each with an order of its own; `overlap` of them read each file.
    pub fn start(
        count: u16,
        overlap: u16,
        root: &Path,
        manifest: &Path,
        seed: u64,
    ) -> Result<Self> {
        let mut readers = Self::default();
        for number in 0..count {
            let share = Share {
                number,
                readers: count,
                overlap,
            };
            let seed = seed.wrapping_mul(1000).wrapping_add(number.into());
            readers
                .readers
                .push(Reader::start(share, root, manifest, seed)?);
        }
        Ok(readers)
    }

    /// Totals of all readers so far.
    pub fn totals(&self) -> Totals {
        self.readers.iter().fold(Totals::default(), |sum, reader| {
            let one = *reader.totals.lock().unwrap_or_else(PoisonError::into_inner);
            Totals {
                files: sum.files + one.files,
                bytes: sum.bytes + one.bytes,
                bad: sum.bad + one.bad,
                errors: sum.errors + one.errors,
            }
        })
    }

    /// Whether all have ended.
    pub fn finished(&mut self) -> Result<bool> {
        for reader in &mut self.readers {
            reader.check()?;
        }
        Ok(self.readers.iter().all(|reader| reader.finished))
    }

    /// How many ended in another way than by getting through their list.
    pub fn failures(&self) -> usize {
        self.readers.iter().filter(|reader| reader.failed).count()
    }

    /// Where each that still runs is waiting in the kernel.
    pub fn whereabouts(&self) -> String {
        let running = self.readers.iter().filter(|reader| !reader.finished);
        let place = |reader: &Reader| {
            let pid = reader.child.id();
            let stack = std::fs::read_to_string(format!("/proc/{pid}/stack")).unwrap_or_default();
            let wchan = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
            format!("reader {pid}: {wchan}\n{stack}")
        };
        running.map(place).collect()
    }
}

impl Reader {
    fn start(share: Share, root: &Path, manifest: &Path, seed: u64) -> Result<Self> {
        let number = share.number;
        let program = std::env::current_exe().context("finding this program")?;
        let mut child = Command::new(program)
            .arg("read")
            .arg("--root")
            .arg(root)
            .arg("--manifest")
            .arg(manifest)
            .arg("--seed")
            .arg(seed.to_string())
            .args(share.to_options())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a reader")?;
        let lines =
            BufReader::new(child.stdout.take().context("the reader has no stdout")?).lines();
        let totals = Arc::new(Mutex::new(Totals::default()));
        let shared = Arc::clone(&totals);
        let listener = std::thread::spawn(move || {
            let mut complaints = 0;
            for line in lines.map_while(Result::ok) {
                if let Some(totals) = Totals::from_line(&line) {
                    *shared.lock().unwrap_or_else(PoisonError::into_inner) = totals;
                } else if complaints < MAX_COMPLAINTS {
                    complaints += 1;
                    println!("reader {number}: {}", line.trim_start_matches("! "));
                }
            }
        });
        Ok(Self {
            child,
            totals,
            listener: Some(listener),
            finished: false,
            failed: false,
        })
    }

    /// Notes it if the reader has ended; then its last totals are in.
    fn check(&mut self) -> Result<()> {
        if self.finished {
            return Ok(());
        }
        if let Some(status) = self.child.try_wait().context("waiting for a reader")? {
            self.finished = true;
            self.failed = !status.success();
            // Fails only if the thread panicked, and it has nothing to panic at.
            let _ = self.listener.take().map(JoinHandle::join);
            if self.failed {
                println!("reader {} ended with {status}", self.child.id());
            }
        }
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.finished {
            // Ends also a reader that waits for data: such a wait is killable.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
