// SPDX-License-Identifier: GPL-2.0
//! What is done for each message: the daemon's side of the protocol.
//!
//! Each message is a task of its own, and whatever may wait for a source, or for the disk, runs on
//! a thread for such work. Every task ends before its deadline, whether its thread comes back or
//! not.
//!
//! A fetch that fails is tried again later. After the last try, or at the deadline, the READ is
//! failed (`cfail`), and its reader gets an error. The C module of Linux 6.12 has no error reply to
//! a READ: there it is completed without its data, and its reader gets EIO as the kernel finds none
//! in the cache.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use cachefiles_protocol::{Close, Device, Errno, Message, Open, Read, page_size};
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{sleep, timeout_at};

use super::cull::Culler;
use super::failure::{cause, is_corrupt, is_final, is_full, is_of_another};
use super::in_hand::InHand;
use super::object::{Object, Served, range_of, serve};
use super::objects::Objects;
use super::policy::Policy;
use super::trace::Traces;
use super::units::Claim;
use crate::backend::{self, Backend, Blob};
use crate::identity::Identities;
use crate::metrics::Metrics;
use crate::seldom::{Seldom, TOLD_EVERY};
use crate::stats::Stats;

/// Everything the tasks share.
pub struct Engine {
    pub(super) device: Device,
    backend: Box<dyn Backend>,
    identities: Option<Identities>,
    pub(super) culler: Option<Culler>,
    /// What went wrong with which blob, for the log.
    pub(super) told: Seldom,
    objects: Objects,
    /// Who asks for a blob has one of these: so a flood of OPENs does not take all threads.
    opening: Arc<Semaphore>,
    in_hand: Arc<InHand>,
    pub(super) stats: Arc<Stats>,
    latency: Histogram,
    pub(super) policy: Policy,
    pub(super) traces: Traces,
}

/// How a task ended that was not its own doing: a thread panicked.
pub type Outcome = Result<(), JoinError>;

impl Engine {
    /// An engine without objects: after a restart the kernel opens them again as it needs them.
    pub fn new(
        device: Device,
        backend: Box<dyn Backend>,
        identities: Option<Identities>,
        culler: Option<Culler>,
        stats: Stats,
        policy: Policy,
    ) -> Self {
        Self {
            device,
            backend,
            identities,
            culler,
            told: Seldom::new(TOLD_EVERY),
            objects: Objects::default(),
            opening: Arc::new(Semaphore::new(policy.turns)),
            in_hand: Arc::default(),
            stats: Arc::new(stats),
            latency: Metrics::latency(),
            policy,
            traces: Traces::default(),
        }
    }

    /// The same, that records what is read, or fetches ahead.
    pub fn with_traces(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// The device that messages come from.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What there is to tell of it.
    pub fn metrics(&self) -> Metrics {
        let waiting: Arc<InHand> = Arc::clone(&self.in_hand);
        Metrics::new(Arc::clone(&self.stats), waiting, self.latency.clone())
    }

    /// Does what has to be done now and then: says how often happened what was said once, and makes
    /// room where the kernel wants it. May take a while.
    pub fn keep_house(&self) {
        let now = Instant::now();
        self.told.tell_over(now);
        self.traces.write();
        if let Some(identities) = &self.identities {
            identities.tell_over(now);
        }
        if let Some(culler) = &self.culler {
            culler.cull_if_wanted(&self.device, &self.stats);
        }
    }

    /// Does what a message asks for: the future is ready when it is answered. To be called for each
    /// message in the order in which they were read; a READ that is being served already is left to
    /// the task that does it.
    pub fn handle(self: Arc<Self>, message: Message) -> impl Future<Output = Outcome> + use<> {
        let is_in_hand = matches!(&message, Message::Read(read) if !self.take(read));
        async move {
            match message {
                Message::Open(open) => self.open(open).await,
                Message::Read(_) if is_in_hand => Ok(()),
                Message::Read(read) => {
                    let begun = Instant::now();
                    let outcome = self.read(read).await;
                    self.latency.observe(begun.elapsed().as_secs_f64());
                    outcome
                }
                Message::Close(close) => {
                    self.close(close);
                    Ok(())
                }
            }
        }
    }

    /// Takes a READ in hand. False if it is already.
    fn take(&self, read: &Read) -> bool {
        let again = self.stats.count_read(read.msg_id, read.len);
        tracing::debug!(
            read.msg_id,
            read.object_id,
            read.off,
            read.len,
            again,
            "READ"
        );
        let is_new = self.in_hand.take(read);
        if is_new {
            self.note(read.object_id, read.off, read.len);
        }
        is_new
    }

    async fn open(self: &Arc<Self>, open: Open) -> Outcome {
        let Open {
            msg_id,
            object_id,
            volume_key,
            cookie_key,
            fd,
            ..
        } = open;
        let key = format!(
            "{}/{}",
            volume_key.escape_ascii(),
            cookie_key.escape_ascii()
        );
        let name = cookie_key.clone();
        let size = match self.find_in_time(volume_key, cookie_key, &key).await? {
            Ok(blob) => {
                // Up to whole pages, because the last page is written whole.
                let size = blob.size().next_multiple_of(page_size());
                let is_verified = blob.is_verified();
                tracing::debug!(msg_id, object_id, key, size, is_verified, "OPEN");
                self.stats
                    .opens_verified
                    .fetch_add(is_verified.into(), Relaxed);
                let object = Object {
                    fd,
                    blob,
                    key,
                    name,
                    turns: Arc::new(Semaphore::new(self.policy.turns)),
                    units: Arc::default(),
                };
                // Before the answer: the first READ may come right after it.
                let object = Arc::new(object);
                self.objects.insert(object_id, &object);
                self.begin_prefetch(&object);
                Ok(size)
            }
            Err(error) => {
                let what = format!("refusing to open {key}");
                if self.told.first(&what, Instant::now()) {
                    tracing::warn!("{what}: {}", cause(&error));
                }
                Err(backend::errno(&error).unwrap_or(Errno::IO))
            }
        };
        match (self.device.copen(msg_id, size), size) {
            (Ok(()), Ok(_)) => {
                self.stats.opens.fetch_add(1, Relaxed);
            }
            (Ok(()), Err(_)) => {
                self.stats.opens_refused.fetch_add(1, Relaxed);
            }
            (Err(errno), _) => {
                // Most likely whoever wanted it was killed and the request went with him.
                tracing::warn!(
                    msg_id,
                    object_id,
                    "the kernel does not take the answer to an OPEN: {errno}"
                );
                drop(self.objects.remove(object_id));
            }
        }
        Ok(())
    }

    /// Tries until the blob of an OPEN is found, or it is sure that it is not. The inner error is
    /// the OPEN's.
    async fn find_in_time(
        self: &Arc<Self>,
        volume_key: Vec<u8>,
        cookie_key: Vec<u8>,
        key: &str,
    ) -> Result<io::Result<Arc<dyn Blob>>, JoinError> {
        let deadline = tokio::time::Instant::now() + self.policy.deadline;
        let keys = Arc::new((volume_key, cookie_key));
        let mut failures = 0;
        loop {
            let (engine, keys) = (Arc::clone(self), Arc::clone(&keys));
            let find = async {
                let turn = Arc::clone(&engine.opening).acquire_owned().await;
                let find = move || {
                    // Here, and not with the task: a thread that hangs keeps its turn.
                    let _turn = turn;
                    engine.find(&keys.0, &keys.1)
                };
                spawn_blocking(find).await
            };
            let Ok(found) = timeout_at(deadline, find).await else {
                return Ok(Err(Errno::TIMEDOUT.into()));
            };
            let error = match found? {
                Err(error) if backend::may_pass(&error) => error,
                found => return Ok(found),
            };
            failures += 1;
            let wait = self.policy.wait_before(failures, &error, deadline);
            if failures >= self.policy.tries || tokio::time::Instant::now() + wait >= deadline {
                return Ok(Err(error));
            }
            let what = format!("cannot open {key}");
            if self.told.first(&what, Instant::now()) {
                tracing::warn!("{what}, trying again: {}", cause(&error));
            }
            self.stats.retries.fetch_add(1, Relaxed);
            sleep(wait).await;
        }
    }

    /// The blob of an OPEN, if it is the one that the cache has data of.
    fn find(&self, volume_key: &[u8], cookie_key: &[u8]) -> io::Result<Arc<dyn Blob>> {
        let blob = self.backend.open(volume_key, cookie_key)?;
        if let Some(identities) = &self.identities {
            identities.check(volume_key, cookie_key, &blob.identity())?;
        }
        Ok(blob.into())
    }

    fn close(&self, close: Close) {
        tracing::debug!(close.msg_id, close.object_id, "CLOSE");
        self.stats.closes.fetch_add(1, Relaxed);
        if self.objects.remove(close.object_id).is_none() {
            tracing::debug!(close.object_id, "CLOSE of an object that is not open here");
        }
    }

    /// Tries until the READ is served, its tries are used up, or its time is.
    async fn read(self: &Arc<Self>, read: Read) -> Outcome {
        let deadline = tokio::time::Instant::now() + self.policy.deadline;
        let (mut failures, mut is_wide) = (0, true);
        let error = loop {
            let error = match timeout_at(deadline, self.attempt(read, &mut is_wide)).await {
                Ok(tried) => match tried? {
                    Ok(served) => {
                        let completed = u64::from(served == Served::Completed);
                        self.stats.reads_completed.fetch_add(completed, Relaxed);
                        return Ok(());
                    }
                    Err(error) => error,
                },
                Err(_) => Errno::TIMEDOUT.into(),
            };
            if !self.in_hand.has(&read) {
                return Ok(());
            }
            // What is wrong may be beside what is asked for, which may be had alone.
            if mem::take(&mut is_wide) && is_corrupt(&error) {
                continue;
            }
            failures += 1;
            let wait = self.policy.wait_before(failures, &error, deadline);
            if is_final(&error)
                || (failures >= self.policy.tries && !is_of_another(&error))
                || tokio::time::Instant::now() + wait >= deadline
            {
                break error;
            }
            let what = format!("cannot serve a READ of {}", self.name(read.object_id));
            if self.told.first(&what, Instant::now()) {
                tracing::warn!(
                    off = read.off,
                    len = read.len,
                    "{what}, trying again: {}",
                    cause(&error)
                );
            }
            self.stats.retries.fetch_add(1, Relaxed);
            sleep(wait).await;
        };
        if self.in_hand.put_down(&read) {
            self.fail(&read, &error);
        }
        Ok(())
    }

    /// Tries once: for the units that the READ touches, or for what it asks for, also where
    /// somebody else could not have one of the units just now. Says by `is_wide` which it was. The
    /// inner error is the READ's.
    async fn attempt(
        self: &Arc<Self>,
        read: Read,
        is_wide: &mut bool,
    ) -> Result<io::Result<Served>, JoinError> {
        let Some(object) = self.object(read.object_id) else {
            return Ok(Err(Errno::BADF.into()));
        };
        let (blob, turns) = (Arc::clone(&object.blob), Arc::clone(&object.turns));
        let units = Arc::clone(&object.units);
        let object = Arc::downgrade(&object);
        let range = match range_of(&*blob, &read) {
            Ok(range) => range,
            Err(error) => return Ok(Err(error)),
        };
        let claim_of = async |unit: u64| match unit > page_size() {
            true => units.claim(&range, unit).await,
            false => Claim::alone(range.clone()),
        };
        let (narrow, wide) = (blob.unit(), blob.unit().max(self.policy.unit));
        let mut claim = claim_of(if *is_wide { wide } else { narrow }).await;
        if *is_wide && wide > narrow && claim.has_failed() {
            *is_wide = false;
            drop(claim);
            claim = claim_of(narrow).await;
        }
        let turn = turns.acquire_owned().await;
        let (in_hand, stats) = (Arc::clone(&self.in_hand), Arc::clone(&self.stats));
        let served = spawn_blocking(move || {
            // Here, and not with the task: a thread that hangs keeps its turn.
            let _turn = turn;
            serve(&object, &*blob, &read, &mut claim, &in_hand, &stats)
        });
        let served = served.await?;
        if served.as_ref().is_err_and(is_full) {
            self.make_room().await?;
        }
        Ok(served)
    }

    /// The object's name, for the log.
    pub(super) fn name(&self, object_id: u32) -> String {
        self.object(object_id)
            .map_or_else(|| "an unknown object".into(), |it| it.key.clone())
    }

    pub(super) fn object(&self, object_id: u32) -> Option<Arc<Object>> {
        self.objects.get(object_id)
    }
}
