// SPDX-License-Identifier: GPL-2.0
//! Passes and pauses, with a giver that does as it is told.

use super::*;

/// Gives what it has, and counts how often. Its credentials change meanwhile if that is wanted.
#[derive(Default)]
struct Fake {
    grant: Mutex<Option<Grant>>,
    given: Mutex<u32>,
    changes: bool,
}

impl Giver for Fake {
    fn grant(&self, _: &Challenge, _: Deadline) -> Result<Option<Grant>, SourceError> {
        *self.given.lock().unwrap() += 1;
        let grant = self.grant.lock().unwrap().clone();
        match grant {
            Some(grant) => Ok(Some(grant)),
            None => Err(SourceError::new(Fault::Passing, "nothing to give")),
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        let is_changed = self.changes && *self.given.lock().unwrap() > 0;
        is_changed.then(Stamp::default)
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn grant(lifetime: Option<Duration>) -> Grant {
    let header = "x".into();
    Grant { header, lifetime }
}

/// Gets a pass for somebody whom the registry asks who that is.
fn asked<'a>(auth: &'a Auth<Fake>, pass: Pass<'a>) -> Result<Pass<'a>, SourceError> {
    auth.again(pass, Some(Challenge::Basic))
}

#[test]
fn a_late_success_does_not_end_a_pause() {
    let auth = Auth::new(Fake::default());
    *auth.giver.grant.lock().unwrap() = Some(grant(None));
    let first = asked(&auth, auth.enter(soon()).unwrap()).unwrap();
    auth.let_in(first);
    let (slow, other) = (auth.enter(soon()).unwrap(), auth.enter(soon()).unwrap());
    *auth.giver.grant.lock().unwrap() = None;
    assert!(asked(&auth, other).is_err());
    auth.let_in(slow);
    assert!(auth.enter(soon()).is_err(), "the pause is over");
    assert_eq!(*auth.giver.given.lock().unwrap(), 2);
}

#[test]
fn what_is_not_renewed_early_is_not_tried_again_by_who_saw_it_before() {
    let auth = Auth::new(Fake::default());
    *auth.giver.grant.lock().unwrap() = Some(grant(Some(Duration::from_millis(80))));
    let first = asked(&auth, auth.enter(soon()).unwrap()).unwrap();
    auth.let_in(first);
    *auth.giver.grant.lock().unwrap() = None;
    let known = auth.state().known.clone();
    std::thread::sleep(Duration::from_millis(65));
    for _ in 0..3 {
        let still = auth.renew_early(known.clone(), soon());
        assert_eq!(still.number, known.number);
    }
    assert_eq!(*auth.giver.given.lock().unwrap(), 2);
}

#[test]
fn credentials_that_change_while_they_are_read_end_the_pause() {
    for changes in [false, true] {
        let auth = Auth::new(Fake {
            changes,
            ..Fake::default()
        });
        assert!(asked(&auth, auth.enter(soon()).unwrap()).is_err());
        assert_eq!(auth.enter(soon()).is_ok(), changes);
    }
}

#[test]
fn after_a_pause_the_registry_is_asked_first_what_it_wants() {
    let auth = Auth::new(Fake::default());
    assert!(asked(&auth, auth.enter(soon()).unwrap()).is_err());
    std::thread::sleep(FIRST_PAUSE + Duration::from_millis(100));
    assert!(auth.enter(soon()).unwrap().header().is_none());
    assert_eq!(*auth.giver.given.lock().unwrap(), 1, "it was asked at once");
}

#[test]
fn nobody_waits_for_another_one_beyond_the_deadline() {
    let auth = Auth::new(Fake::default());
    let first = auth.enter(soon()).unwrap();
    let begun = Instant::now();
    let soon_over = Deadline::after(Duration::from_millis(100));
    let error = auth.enter(soon_over).err().unwrap();
    assert_eq!(error.fault(), Fault::Passing);
    assert!(begun.elapsed() < Duration::from_secs(20));
    // And who waits gets it when it is free.
    std::thread::scope(|scope| {
        let second = scope.spawn(|| auth.enter(soon()).is_ok());
        std::thread::sleep(Duration::from_millis(50));
        drop(first);
        assert!(second.join().unwrap());
    });
}
