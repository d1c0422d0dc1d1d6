// SPDX-License-Identifier: GPL-2.0
//! Servers that do not want to be asked for a while: whichever blob it was that heard so.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::error::{Fault, SourceError};
use super::http::answer;

/// The longest pause that a server is believed. Then it is asked again, by all who want something.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Whether an answer may say so.
pub fn is_pausing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    )
}

/// Until when each server is left alone.
#[derive(Debug, Default)]
pub struct Pauses(Mutex<HashMap<String, Instant>>);

impl Pauses {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails, for as long as it still is, while a server does not want to be asked.
    pub fn check(&self, server: &str) -> Result<(), SourceError> {
        let Some(until) = self.all().get(server).copied() else {
            return Ok(());
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let message = format!(
            "the server does not want to be asked for {:.1} s: it has answered so to another \
             request",
            left.as_secs_f32()
        );
        Err(SourceError::new(Fault::Passing, message).until(Some(left)))
    }

    /// Notes when to come back, if that is what a server answers.
    pub fn note_answer(&self, server: &str, response: &Response<Body>) {
        if is_pausing(response.status()) {
            self.note(
                server,
                &answer::refusal(response.status(), response.headers()),
            );
        }
    }

    /// Notes what an error says of when to come back.
    fn note(&self, server: &str, error: &SourceError) {
        let Some(said) = error.retry_after() else {
            return;
        };
        let until = Instant::now() + said.min(LONGEST);
        let mut all = self.all();
        let known = all.entry(server.to_owned()).or_insert(until);
        *known = (*known).max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_left_alone_until_the_last_time_that_it_said_and_no_other() {
        let pauses = Pauses::default();
        let note = |seconds| {
            let error = SourceError::new(Fault::Passing, "busy");
            pauses.note("a", &error.until(seconds));
        };
        let left = || pauses.check("a").err().and_then(|it| it.retry_after());
        note(None);
        assert_eq!(left(), None);
        note(Some(Duration::from_secs(20)));
        note(Some(Duration::from_secs(1)));
        assert!(left().unwrap() > Duration::from_secs(10));
        assert!(pauses.check("b").is_ok());
        note(Some(Duration::MAX));
        assert!(left().unwrap() <= LONGEST);
    }

    #[test]
    fn a_pause_ends() {
        let pauses = Pauses::default();
        let error = SourceError::new(Fault::Passing, "busy");
        pauses.note("a", &error.until(Some(Duration::from_millis(20))));
        assert!(pauses.check("a").is_err());
        std::thread::sleep(Duration::from_millis(30));
        assert!(pauses.check("a").is_ok());
    }
}
