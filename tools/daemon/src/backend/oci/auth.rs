// SPDX-License-Identifier: GPL-2.0
//! Tokens for one repository: got when they are wanted, and renewed by one thread at a time.
//!
//! What was let in once is used by all at a time, until it is nearly over: then one gets the next,
//! while the others go on with it. What was not let in yet is tried by one alone, while the others
//! wait for how that ends. So a registry that wants another token is asked for one once, however
//! many requests it has refused; and one that refuses the token that it has just been given gets
//! one request, and then none until a pause is over or the credentials have changed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::challenge::Challenge;
use super::credentials::Stamp;
use super::deadline::Deadline;
use crate::backend::error::{Fault, SourceError};

mod turn;

use self::turn::{Taken, Turn};

/// The first pause after a failure; it doubles with each further one up to the longest, which is
/// shorter for what may pass.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PASSING: Duration = Duration::from_secs(8);

/// What proves to a registry who we are. Not to be printed.
#[derive(Clone)]
pub struct Grant {
    /// The value of `Authorization`.
    pub header: String,
    /// For how long it is good, from when it was asked for; `None` for a password.
    pub lifetime: Option<Duration>,
}

/// Who gives grants.
pub trait Giver {
    /// Gets one; `None` where there is nothing that could be given.
    fn grant(
        &self,
        challenge: &Challenge,
        deadline: Deadline,
    ) -> Result<Option<Grant>, SourceError>;

    /// Changes when what it gives may be another one.
    fn stamp(&self) -> Option<Stamp>;
}

#[derive(Clone)]
struct Known {
    header: Option<String>,
    /// Which one it is: they are counted.
    number: u64,
    was_let_in: bool,
    /// When to get the next one, and when this one is over.
    due: Option<Instant>,
    over: Option<Instant>,
    /// From which state of the credentials it is.
    stamp: Option<Stamp>,
}

#[derive(Clone)]
struct Refused {
    until: Instant,
    fault: Fault,
    message: String,
    stamp: Option<Stamp>,
}

struct State {
    challenge: Option<Challenge>,
    known: Known,
    refused: Option<Refused>,
    failures: u32,
}

/// The token of a repository.
pub struct Auth<G> {
    giver: G,
    state: Mutex<State>,
    turn: Turn,
}

/// Leave to make a request.
pub struct Pass<'a> {
    known: Known,
    /// Held while it is being tried.
    turn: Option<Taken<'a>>,
    /// Whether it was got for this request.
    is_new: bool,
    deadline: Deadline,
}

impl Pass<'_> {
    /// The value of `Authorization`, if there is to be one.
    pub fn header(&self) -> Option<&str> {
        self.known.header.as_deref()
    }

    /// Until when the request has to be over.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Whether a 403 may say that what it proves is good no more: of a token it is known when that
    /// is over, and of a password it is not. Registries whose passwords end (Amazon's, after twelve
    /// hours) answer so.
    pub fn may_be_over(&self) -> bool {
        self.header().is_some() && (self.is_new || self.known.over.is_none())
    }
}

impl<G: Giver> Auth<G> {
    /// Nothing is known yet, and nobody asked.
    pub fn new(giver: G) -> Self {
        let known = Known {
            header: None,
            number: 0,
            was_let_in: false,
            due: None,
            over: None,
            stamp: None,
        };
        Self {
            giver,
            state: Mutex::new(State {
                challenge: None,
                known,
                refused: None,
                failures: 0,
            }),
            turn: Turn::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives leave to make a request. Fails during a pause, without asking anybody, and when the
    /// deadline comes first.
    pub fn enter(&self, deadline: Deadline) -> Result<Pass<'_>, SourceError> {
        let now = Instant::now();
        if let Some(known) = self.usable(now)? {
            if known.due.is_some_and(|due| due <= now) {
                if let Some(_turn) = self.turn.try_take() {
                    return Ok(free(self.renew_early(known, deadline), deadline));
                }
            }
            return Ok(free(known, deadline));
        }
        let turn = self.turn.take(deadline)?;
        if let Some(known) = self.usable(Instant::now())? {
            return Ok(free(known, deadline));
        }
        let (challenge, known) = {
            let state = self.state();
            (state.challenge.clone(), state.known.clone())
        };
        let is_over = known.over.is_some_and(|over| over <= Instant::now());
        match challenge {
            Some(challenge) if known.header.is_none() || is_over => {
                self.renew(&challenge, deadline)?;
                Ok(self.trial(turn, true, deadline))
            }
            _ => Ok(self.trial(turn, false, deadline)),
        }
    }

    /// What may be used by all, if there is such a thing.
    fn usable(&self, now: Instant) -> Result<Option<Known>, SourceError> {
        let refused = self.state().refused.clone();
        if let Some(refused) = refused {
            let left = refused.until.saturating_duration_since(now);
            if !left.is_zero() && refused.stamp == self.giver.stamp() {
                let message = format!(
                    "{} (asked again in {:.0} s)",
                    refused.message,
                    left.as_secs_f32().ceil()
                );
                return Err(SourceError::new(refused.fault, message).until(Some(left)));
            }
        }
        let state = self.state();
        let is_over = state.known.over.is_some_and(|over| over <= now);
        let is_usable = state.known.was_let_in && !is_over;
        Ok(is_usable.then(|| state.known.clone()))
    }

    /// Gets the next one before the one that is known is over, which stays if there is none.
    fn renew_early(&self, known: Known, deadline: Deadline) -> Known {
        let challenge = {
            let state = self.state();
            // Somebody else may have had the turn before, with or without success.
            let is_due = state.known.due.is_some_and(|due| due <= Instant::now());
            if state.known.number != known.number || !is_due {
                return state.known.clone();
            }
            state.challenge.clone()
        };
        let stamp = self.giver.stamp();
        let got = challenge.map(|challenge| (self.giver.grant(&challenge, deadline), challenge));
        match got {
            Some((Ok(Some(grant)), _)) => {
                self.keep(grant, true, stamp);
            }
            Some((Err(error), _)) => {
                tracing::warn!("a token is not renewed before it is over: {error}");
                self.state().known.due = Some(Instant::now() + FIRST_PAUSE * 5);
            }
            _ => {}
        }
        self.state().known.clone()
    }

    fn trial<'a>(&'a self, turn: Taken<'a>, is_new: bool, deadline: Deadline) -> Pass<'a> {
        Pass {
            known: self.state().known.clone(),
            turn: Some(turn),
            is_new,
            deadline,
        }
    }

    /// Gets a grant. The caller has the turn.
    fn renew(&self, challenge: &Challenge, deadline: Deadline) -> Result<(), SourceError> {
        // Before: what changes while it is being read counts as another one.
        let stamp = self.giver.stamp();
        match self.giver.grant(challenge, deadline) {
            Ok(Some(grant)) => {
                self.keep(grant, false, stamp);
                Ok(())
            }
            Ok(None) => {
                let message = "the registry wants to know who asks, and there are no credentials \
                               for it (--docker-config)";
                Err(self.pause(SourceError::new(Fault::Denied, message), stamp))
            }
            Err(error) => Err(self.pause(error, stamp)),
        }
    }

    fn keep(&self, grant: Grant, was_let_in: bool, stamp: Option<Stamp>) {
        let mut state = self.state();
        let now = Instant::now();
        let after = |part: u32| grant.lifetime.map(|it| now + it * part / 4);
        state.known = Known {
            number: state.known.number + 1,
            was_let_in,
            due: after(3),
            over: after(4),
            header: Some(grant.header),
            stamp,
        };
    }

    /// Notes that nobody is to be asked for a while, and what to say meanwhile.
    fn pause(&self, error: SourceError, stamp: Option<Stamp>) -> SourceError {
        let (fault, message) = (error.fault(), error.to_string());
        let mut state = self.state();
        let factor = 1u32.checked_shl(state.failures).unwrap_or(u32::MAX);
        let own = FIRST_PAUSE.saturating_mul(factor);
        let longest = match fault {
            Fault::Passing => LONGEST_PASSING,
            _ => LONGEST_PAUSE,
        };
        let pause = own
            .min(longest)
            .max(error.retry_after().unwrap_or_default());
        let pause = pause.min(LONGEST_PAUSE);
        state.failures = (state.failures + 1).min(16);
        // What is wrong is not known: the next one begins anew, by asking the registry.
        // Whoever is under way with what was known does not end the pause.
        state.challenge = None;
        state.known.header = None;
        state.known.was_let_in = false;
        state.known.number += 1;
        state.refused = Some(Refused {
            until: Instant::now() + pause,
            fault,
            message: message.clone(),
            stamp,
        });
        SourceError::new(fault, message).until(Some(pause))
    }

    /// Gives leave to make a request again that was refused: with a 401, or with a 403 though it
    /// had proved who we are.
    pub fn again<'a>(
        &'a self,
        pass: Pass<'a>,
        challenge: Option<Challenge>,
    ) -> Result<Pass<'a>, SourceError> {
        if pass.is_new {
            return Err(self.refuse(pass));
        }
        let (used, deadline) = (pass.known.number, pass.deadline);
        let turn = match pass.turn {
            Some(turn) => turn,
            None => self.turn.take(deadline)?,
        };
        // Somebody else may have been first.
        let newer = self.usable(Instant::now())?;
        let is_renewed = {
            let state = self.state();
            state.known.number != used && state.known.header.is_some()
        };
        if is_renewed {
            return Ok(match newer {
                Some(known) => free(known, deadline),
                None => self.trial(turn, false, deadline),
            });
        }
        let challenge = {
            let mut state = self.state();
            state.challenge = challenge.or(state.challenge.take());
            state.challenge.clone()
        };
        let Some(challenge) = challenge else {
            let message = "the registry answers 401, and does not say what it wants to see";
            let error = SourceError::new(Fault::Denied, message);
            return Err(self.pause(error, pass.known.stamp));
        };
        self.renew(&challenge, deadline)?;
        Ok(self.trial(turn, true, deadline))
    }

    /// Notes that a request was refused once more.
    pub fn refuse(&self, pass: Pass<'_>) -> SourceError {
        let message = "the registry refuses (401, 403) what it has just been given a token or a \
                       password for: are the credentials good for this repository?";
        let error = self.pause(SourceError::new(Fault::Denied, message), pass.known.stamp);
        drop(pass);
        error
    }

    /// Notes that a request got no answer that would tell. Those who wait for how it ends are told
    /// so, and do not try one after the other what does not answer.
    pub fn unanswered(&self, pass: Pass<'_>, error: &SourceError) {
        if pass.turn.is_some() {
            let stamp = self.giver.stamp();
            self.state().refused = Some(Refused {
                until: Instant::now() + error.retry_after().unwrap_or(FIRST_PAUSE).min(FIRST_PAUSE),
                fault: error.fault(),
                message: error.to_string(),
                stamp,
            });
        }
    }

    /// Notes that a request was let in.
    pub fn let_in(&self, pass: Pass<'_>) {
        let mut state = self.state();
        if state.known.number == pass.known.number {
            state.known.was_let_in = true;
            state.refused = None;
            state.failures = 0;
        }
    }
}

fn free<'a>(known: Known, deadline: Deadline) -> Pass<'a> {
    Pass {
        known,
        turn: None,
        is_new: false,
        deadline,
    }
}

#[cfg(test)]
mod tests;
