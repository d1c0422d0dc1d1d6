// SPDX-License-Identifier: GPL-2.0
//! What the daemon tells of itself, at its socket of metrics.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// In front of each name.
const PREFIX: &str = "cachefiles_ondemandd_";

/// How long the daemon may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much it may say, in bytes.
const LONGEST: u64 = 1 << 20;

/// Names and values, as they were told; labels belong to the name.
#[derive(Debug, Default, PartialEq)]
pub struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// Asks the daemon.
    pub fn read(socket: &Path) -> Result<Self> {
        let mut stream = UnixStream::connect(socket)
            .with_context(|| format!("cannot connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .context("asking for metrics")?;
        let mut answer = String::new();
        stream
            .take(LONGEST)
            .read_to_string(&mut answer)
            .context("reading metrics")?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("this is no answer with metrics")?;
        ensure!(
            head.starts_with("HTTP/1.1 200 "),
            "the answer is: {}",
            head.lines().next().unwrap_or_default()
        );
        Ok(Self::parse(body))
    }

    /// Understands the daemon's words.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.strip_prefix(PREFIX)?.to_owned(), value.parse().ok()?))
        });
        Self(pairs.collect())
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<f64> {
        let mut found = self.0.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| *value)
    }

    /// All of them.
    pub fn all(&self) -> &[(String, f64)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_the_daemon_tells_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics");
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            for status in ["200 OK", "404 Not Found"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let length = stream.read(&mut request).unwrap();
                assert!(request[..length].starts_with(b"GET /metrics HTTP/1.1\r\n"));
                let text = format!(
                    "HTTP/1.1 {status}\r\nX: y\r\n\r\n# TYPE x counter\n\
                     cachefiles_ondemandd_reads_in_flight 3\n\
                     cachefiles_ondemandd_requests_total{{kind=\"read\"}} 17\nother 1\n# EOF\n"
                );
                stream.write_all(text.as_bytes()).unwrap();
            }
        });
        let metrics = Metrics::read(&path).unwrap();
        assert_eq!(metrics.get("reads_in_flight"), Some(3.0));
        assert_eq!(metrics.get("requests_total{kind=\"read\"}"), Some(17.0));
        assert_eq!((metrics.get("other"), metrics.all().len()), (None, 2));
        let error = Metrics::read(&path).unwrap_err().to_string();
        assert!(error.contains("404 Not Found"), "{error}");
        thread.join().unwrap();
        assert!(Metrics::read(&path).is_err());
    }
}
