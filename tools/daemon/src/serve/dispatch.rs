// SPDX-License-Identifier: GPL-2.0
//! Reads messages and makes a task of each. Nothing here waits for a source.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cachefiles_protocol::{MAX_MESSAGE_SIZE, ReceiveError};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking, yield_now};
use tokio::time::{sleep, timeout};

use super::engine::{Engine, Outcome};

/// How long this sleeps at most. A wake-up that the kernel loses costs this, not a hang.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How many errors in a row are taken before the end, and the pause after each.
const MAX_ERRORS: u32 = 100;
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// How long what is under way may take to end when the daemon is to. The next daemon gets the rest.
const DRAIN: Duration = Duration::from_secs(2);

/// Handles messages until `stop` says so, or the device is of no use any more.
pub async fn run(engine: Arc<Engine>, mut stop: watch::Receiver<bool>) -> Result<()> {
    let mut tasks = JoinSet::new();
    let house = tokio::spawn(keep_house(Arc::clone(&engine)));
    let result = dispatch(&engine, &mut stop, &mut tasks).await;
    house.abort();
    let drained = timeout(DRAIN, async {
        while let Some(ended) = tasks.join_next().await {
            checked(ended)?;
        }
        Ok(())
    });
    match drained.await {
        Ok(drained) => result.and(drained),
        Err(_) => {
            tracing::warn!("{} requests are left to the next daemon", tasks.len());
            result
        }
    }
}

async fn dispatch(
    engine: &Arc<Engine>,
    stop: &mut watch::Receiver<bool>,
    tasks: &mut JoinSet<Outcome>,
) -> Result<()> {
    let device = engine.device();
    // SAFETY: the device keeps its fd open, and the same, as long as it lives, and it is borrowed
    // from the engine, which outlives this function.
    let ready = unsafe { AsyncFd::register_with_interest(device.as_raw_fd(), Interest::READABLE) }
        .context("waiting for the device")?;
    let mut message = [0; MAX_MESSAGE_SIZE];
    let mut errors = 0;
    loop {
        while let Some(ended) = tasks.try_join_next() {
            checked(ended)?;
        }
        // Looked at between any two: a stream of requests must not keep the daemon alive.
        if *stop.borrow() {
            return Ok(());
        }
        match device.read_message(&mut message) {
            Ok(Some(message)) => {
                errors = 0;
                tasks.spawn(Arc::clone(engine).handle(message));
                yield_now().await;
                continue;
            }
            Ok(None) => errors = 0,
            // Out of fds or memory, or a request that the kernel has dropped meanwhile: it passes.
            Err(error) => {
                errors += 1;
                pause_after(&error, errors).await?;
                continue;
            }
        }
        tokio::select! {
            // What comes after this is noticed again, and what came before is read now.
            guard = ready.readable() => guard.context("waiting for the device")?.clear_ready(),
            Some(ended) = tasks.join_next() => checked(ended)?,
            _ = stop.changed() => {}
            () = sleep(LONGEST_WAIT) => {}
        }
    }
}

async fn pause_after(error: &ReceiveError, errors: u32) -> Result<()> {
    tracing::warn!("{error}");
    if errors >= MAX_ERRORS {
        bail!("giving up after {errors} errors in a row: {error}");
    }
    sleep(ERROR_PAUSE).await;
    Ok(())
}

/// A panic is the end of all: a new process is better than half a one.
fn checked(ended: std::result::Result<Outcome, tokio::task::JoinError>) -> Result<()> {
    ended
        .and_then(|outcome| outcome)
        .context("a request was not handled to its end")
}

async fn keep_house(engine: Arc<Engine>) {
    loop {
        sleep(LONGEST_WAIT).await;
        let engine = Arc::clone(&engine);
        // Ends early only with the process.
        let _ = spawn_blocking(move || engine.keep_house()).await;
    }
}
