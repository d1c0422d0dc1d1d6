// SPDX-License-Identifier: GPL-2.0
//! What the worker does, for Prometheus: counters, how long READs take, and which ones take too
//! long, over a Unix socket.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use crate::cache::LiveArgs;
use crate::control;
use crate::stats::Stats;

/// Upper ends of the classes of latency, in seconds.
const CLASSES: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 30.0,
];

/// Ages in seconds; how many READs are older than each is told.
const AGES: [u64; 3] = [1, 5, 30];

/// How long a request for this may take, and how large it may be.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: usize = 8192;

/// Says since when each READ is waited for that is not answered yet.
pub trait Waiting: Send + Sync + 'static {
    /// The times at which they were taken.
    fn since(&self) -> Vec<Instant>;
}

/// What is told.
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Tells of these.
    pub fn new(stats: Arc<Stats>, waiting: Arc<dyn Waiting>, latency: Histogram) -> Self {
        let mut registry = Registry::with_prefix("cachefiles_ondemandd");
        registry.register(
            "read_seconds",
            "Time from taking a READ to its answer, an error or not",
            latency,
        );
        registry.register_collector(Box::new(Counts { stats, waiting }));
        Self { registry }
    }

    /// Tells as well what the kernel was told of the cache.
    pub fn with_settings(mut self, live: &LiveArgs) -> Self {
        let kib = live.readahead.map(|kib| u64::from(kib) << 10);
        let settings = [
            (
                "timeout_seconds",
                "Time after which the kernel fails a request; 0 is never",
                Some(live.timeout.into()),
            ),
            (
                "linger_seconds",
                "For how long the cache waits for another daemon, if it was told",
                live.linger.map(u64::from),
            ),
            (
                "readahead_bytes",
                "How much the kernel asks for ahead of readers, if it was told",
                kib,
            ),
        ];
        for (name, help, value) in settings {
            if let Some(value) = value {
                self.registry.register(name, help, ConstGauge::new(value));
            }
        }
        self
    }

    /// An empty histogram of latencies.
    pub fn latency() -> Histogram {
        Histogram::new(CLASSES)
    }

    /// All of it, in the text format of OpenMetrics.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// What is looked up when it is asked for.
struct Counts {
    stats: Arc<Stats>,
    waiting: Arc<dyn Waiting>,
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").finish_non_exhaustive()
    }
}

fn of(counter: &AtomicU64) -> ConstCounter<u64> {
    ConstCounter::new(counter.load(Relaxed))
}

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let stats = &*self.stats;
        let help = "Requests of the kernel, by kind; those that came again are in it";
        let mut requests =
            encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        let kinds = [
            ("open", of(&stats.opens)),
            ("open_refused", of(&stats.opens_refused)),
            ("read", of(&stats.reads)),
            ("close", of(&stats.closes)),
        ];
        for (kind, count) in kinds {
            count.encode(requests.encode_family(&[("kind", kind)])?)?;
        }
        let help = "READs that were answered, by outcome";
        let mut answers =
            encoder.encode_descriptor("reads_answered", help, None, MetricType::Counter)?;
        let outcomes = [
            ("completed", of(&stats.reads_completed)),
            ("failed", of(&stats.reads_failed)),
        ];
        for (outcome, count) in outcomes {
            count.encode(answers.encode_family(&[("outcome", outcome)])?)?;
        }
        let counters = [
            (
                "bytes_asked",
                "Bytes that READs asked for",
                &stats.bytes_asked,
            ),
            (
                "bytes_fetched",
                "Bytes that were written into the cache",
                &stats.bytes,
            ),
            (
                "retries",
                "Fetches that failed and were tried again",
                &stats.retries,
            ),
            ("reads_again", "READs that came again", &stats.reads_again),
            (
                "reads_corrupt",
                "READs that failed as data did not match its digest",
                &stats.reads_corrupt,
            ),
            (
                "opens_verified",
                "OPENs of blobs that are verified",
                &stats.opens_verified,
            ),
            (
                "culled",
                "Files that were removed to make room",
                &stats.culled,
            ),
            ("workers", "Workers that were started", &stats.workers),
        ];
        for (name, help, counter) in counters {
            of(counter).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        let since = self.waiting.since();
        let now = Instant::now();
        let help = "READs that are not answered for longer than so many seconds";
        let mut waiting =
            encoder.encode_descriptor("reads_waiting", help, None, MetricType::Gauge)?;
        for age in AGES {
            let is_old = |since: &&Instant| now.saturating_duration_since(**since).as_secs() >= age;
            let count = since.iter().filter(is_old).count();
            let count = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            count.encode(waiting.encode_family(&[("seconds", age)])?)?;
        }
        let in_flight = ConstGauge::new(i64::try_from(since.len()).unwrap_or(i64::MAX));
        let help = "READs that are not answered yet";
        in_flight.encode(encoder.encode_descriptor(
            "reads_in_flight",
            help,
            None,
            MetricType::Gauge,
        )?)?;
        let oldest = since.iter().min();
        let oldest = oldest.map(|since| now.saturating_duration_since(*since).as_secs_f64());
        let help = "For how long the oldest of these has been waiting; 0 if there is none";
        ConstGauge::new(oldest.unwrap_or_default()).encode(encoder.encode_descriptor(
            "reads_oldest_seconds",
            help,
            None,
            MetricType::Gauge,
        )?)
    }
}

/// Listens at a path, in place of a worker that is gone.
pub fn listen(path: &Path) -> Result<UnixListener> {
    let listener = control::listen(path)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener).context("waiting for requests for metrics")
}

/// Answers one request after the other, for as long as it is polled.
pub async fn serve(listener: UnixListener, metrics: Metrics) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // One that hangs up has had enough.
                let _ = timeout(PATIENCE, answer(stream, &metrics)).await;
            }
            Err(error) => {
                tracing::warn!("a request for metrics: {error}");
                sleep(PATIENCE).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, metrics: &Metrics) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < LONGEST {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let (status, text) = match head.starts_with(b"GET /metrics ") {
        true => ("200 OK", metrics.text().map_err(std::io::Error::other)?),
        false => ("404 Not Found", "it is GET /metrics\n".to_owned()),
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ages(Vec<u64>);

    impl Waiting for Ages {
        fn since(&self) -> Vec<Instant> {
            let ago = |seconds: &u64| Instant::now().checked_sub(Duration::from_secs(*seconds));
            self.0.iter().filter_map(ago).collect()
        }
    }

    #[test]
    fn counters_latencies_and_ages_are_told() {
        let stats = Stats::create(&Stats::memory_file().unwrap()).unwrap();
        stats.count_read(1, 4096);
        stats.bytes.fetch_add(8192, Relaxed);
        stats.reads_failed.fetch_add(3, Relaxed);
        let latency = Metrics::latency();
        latency.observe(0.002);
        let waiting = Arc::new(Ages(vec![0, 2, 7, 7]));
        let live = LiveArgs {
            linger: Some(60),
            ..LiveArgs::default()
        };
        let text = Metrics::new(Arc::new(stats), waiting, latency)
            .with_settings(&live)
            .text()
            .unwrap();
        for line in [
            "cachefiles_ondemandd_requests_total{kind=\"read\"} 1",
            "cachefiles_ondemandd_reads_answered_total{outcome=\"failed\"} 3",
            "cachefiles_ondemandd_bytes_asked_total 4096",
            "cachefiles_ondemandd_bytes_fetched_total 8192",
            "cachefiles_ondemandd_read_seconds_bucket{le=\"0.001\"} 0",
            "cachefiles_ondemandd_read_seconds_bucket{le=\"0.0025\"} 1",
            "cachefiles_ondemandd_reads_waiting{seconds=\"1\"} 3",
            "cachefiles_ondemandd_reads_waiting{seconds=\"5\"} 2",
            "cachefiles_ondemandd_reads_waiting{seconds=\"30\"} 0",
            "cachefiles_ondemandd_reads_in_flight 4",
            "cachefiles_ondemandd_timeout_seconds 0",
            "cachefiles_ondemandd_linger_seconds 60",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}: {text}");
        }
        assert!(!text.contains("readahead"), "it was told nothing: {text}");
        let oldest = text
            .lines()
            .find_map(|line| line.strip_prefix("cachefiles_ondemandd_reads_oldest_seconds "));
        let oldest: f64 = oldest.unwrap().parse().unwrap();
        assert!((7.0..60.0).contains(&oldest), "{oldest}");
        assert!(text.ends_with("# EOF\n"));
    }
}
