// SPDX-License-Identifier: GPL-2.0
//! Ends the run when a step hangs: a thread that sleeps in the kernel cannot be told to give up.

use std::fs;
use std::process;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Watches one piece of work at a time.
pub struct Watchdog {
    sender: Sender<Option<String>>,
}

impl Watchdog {
    /// Starts it, with nothing to watch yet.
    pub fn start(limit: Duration) -> Self {
        let (sender, receiver) = channel::<Option<String>>();
        thread::spawn(move || {
            let mut watched: Option<String> = None;
            loop {
                let next = match &watched {
                    Some(_) => receiver.recv_timeout(limit),
                    None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                };
                match (next, watched.take()) {
                    (Ok(work), _) => watched = work,
                    (Err(RecvTimeoutError::Timeout), Some(work)) => give_up(&work, limit),
                    (Err(_), _) => return,
                }
            }
        });
        Self { sender }
    }

    /// The next piece of work begins.
    pub fn watch(&self, work: &str) {
        self.tell(Some(work.to_owned()));
    }

    /// Nothing to watch until the next call.
    pub fn rest(&self) {
        self.tell(None);
    }

    fn tell(&self, work: Option<String>) {
        // The thread ends only with the process, or with this sender.
        let _ = self.sender.send(work);
    }
}

fn give_up(work: &str, limit: Duration) -> ! {
    // Where the threads of this program sleep in the kernel: the reason is mostly found there.
    for task in fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let stack = fs::read_to_string(task.path().join("stack")).unwrap_or_default();
        let wchan = fs::read_to_string(task.path().join("wchan")).unwrap_or_default();
        println!(
            "# {wchan}\n{}",
            stack
                .lines()
                .map(|line| format!("#   {line}\n"))
                .collect::<String>()
        );
    }
    println!("Bail out! {work} has not ended after {limit:?}");
    process::exit(1);
}
