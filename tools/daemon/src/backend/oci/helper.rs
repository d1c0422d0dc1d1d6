// SPDX-License-Identifier: GPL-2.0
//! Programs that keep credentials: `docker-credential-NAME get`, with the registry on their
//! standard input, and JSON on their standard output.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde_json::Value;

use super::credentials::Credential;
use super::deadline::Deadline;
use crate::backend::error::{Fault, SourceError};

/// For how long one may run.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often one is looked at that has said all.
const SHORT: Duration = Duration::from_millis(5);

/// For how long its output may stay open when it has ended.
const REST: Duration = Duration::from_millis(500);

/// How much one may say, in bytes.
const LONGEST: u64 = 1 << 20;

/// What one says where it has nothing for a registry.
const NOTHING: &str = "credentials not found";

/// Asks a helper. What it says, on either stream, may be a secret, and is not passed on.
pub fn get(name: &str, server: &str, deadline: Deadline) -> Result<Credential, SourceError> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_name) {
        let message = "the name of a credential helper is none";
        return Err(SourceError::new(Fault::Useless, message));
    }
    let program = format!("docker-credential-{name}");
    // It may be there again, or know us again, in a moment.
    let failed = |what: String| SourceError::new(Fault::Passing, format!("{program}: {what}"));
    let patience = deadline.left()?.min(PATIENCE);
    let child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| failed(format!("cannot start it: {error}")))?;
    let (is_success, said) = converse(child, server, patience).map_err(failed)?;
    if !is_success {
        let is_nothing = String::from_utf8_lossy(&said).contains(NOTHING);
        return match is_nothing {
            true => Ok(Credential::Nothing(program)),
            false => Err(failed(format!("it has failed for {server}"))),
        };
    }
    understood(&said).ok_or_else(|| failed("it answers something else than a user".into()))
}

/// Gives it the registry, and waits for its end: whether that was well, and what it said.
fn converse(mut child: Child, server: &str, patience: Duration) -> Result<(bool, Vec<u8>), String> {
    let stdout = child.stdout.take();
    let (sender, receiver) = mpsc::channel();
    // One that does not read what it is given, or closes nothing, must not hold us up.
    if let Some(mut stdin) = child.stdin.take() {
        let server = server.to_owned();
        thread::spawn(move || drop(stdin.write_all(server.as_bytes())));
    }
    thread::spawn(move || {
        let mut said = Vec::new();
        let read = stdout.map(|it| it.take(LONGEST).read_to_end(&mut said));
        drop(sender.send(matches!(read, Some(Ok(_))).then_some(said)));
    });
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or("it has no number")?;
    // Looked at without being reaped, so that the number stays that of its group.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let mut until = Instant::now() + patience;
    let mut said = None;
    loop {
        match said {
            None => said = receiver.recv_timeout(SHORT).ok(),
            Some(_) => thread::sleep(SHORT),
        }
        let status = waitid(WaitId::Pid(pid), look).map_err(|error| error.to_string())?;
        if status.is_some() {
            if said.is_some() {
                break;
            }
            until = until.min(Instant::now() + REST);
        }
        if Instant::now() >= until {
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = child.wait();
            return Err(match status {
                None => format!("it has not ended in {} s", patience.as_secs_f32()),
                Some(_) => "it has ended, and what it has started keeps its output open".into(),
            });
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match said {
        Some(Some(said)) => Ok((status.success(), said)),
        _ => Err("its answer cannot be read".into()),
    }
}

fn understood(said: &[u8]) -> Option<Credential> {
    let said: Value = serde_json::from_slice(said).ok()?;
    let text = |key| said.get(key).and_then(Value::as_str).map(str::to_owned);
    let (user, secret) = (text("Username")?, text("Secret")?);
    Some(match &*user {
        "<token>" => Credential::Identity(secret),
        _ => Credential::Password(user, secret),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Child {
        Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap()
    }

    #[test]
    fn answers_are_users_and_passwords_or_tokens() {
        let of = |said: &str| understood(said.as_bytes());
        let password = Credential::Password("u".into(), "s".into());
        assert!(of(r#"{"ServerURL":"h","Username":"u","Secret":"s"}"#) == Some(password));
        let token = Credential::Identity("s".into());
        assert!(of(r#"{"Username":"<token>","Secret":"s"}"#) == Some(token));
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"Username":"u"}"#,
            r#"{"Secret":1,"Username":"u"}"#,
        ] {
            assert!(of(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn one_that_does_not_end_is_ended() {
        let begun = Instant::now();
        for script in ["exec sleep 60", "echo said; exec >&-; exec sleep 60"] {
            let said = converse(shell(script), "h", Duration::from_millis(200));
            assert!(
                said.is_err_and(|it| it.contains("has not ended")),
                "{script}"
            );
        }
        assert!(begun.elapsed() < Duration::from_secs(30));
        let said = converse(shell("cat; exit 3"), "h:1", PATIENCE);
        assert_eq!(said, Ok((false, b"h:1".to_vec())));
    }

    #[test]
    fn what_one_has_started_does_not_hold_us_up_and_is_ended() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let number = file.path().display();
        for (script, words) in [
            ("", "keeps its output open"),
            ("exec sleep 60", "has not ended"),
        ] {
            let begun = Instant::now();
            let script = format!("sleep 60 & echo $! >{number}; {script}");
            let said = converse(shell(&script), "h", Duration::from_secs(3));
            assert!(said.is_err_and(|it| it.contains(words)), "{words}");
            assert!(begun.elapsed() < Duration::from_secs(30));
            let number = std::fs::read_to_string(file.path()).unwrap();
            let stat = format!("/proc/{}/stat", number.trim());
            let is_alive = || std::fs::read_to_string(&stat).is_ok_and(|it| !it.contains(") Z "));
            while is_alive() {
                assert!(begun.elapsed() < Duration::from_secs(30), "it lives");
                thread::sleep(SHORT);
            }
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_not_run() {
        for name in ["", "../sh", "a b", "/bin/sh"] {
            assert!(
                get(name, "h", Deadline::after(PATIENCE))
                    .is_err_and(|it| it.fault() == Fault::Useless)
            );
        }
        let error = get("no-such-helper", "h", Deadline::after(PATIENCE))
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.starts_with("docker-credential-no-such-helper: cannot start"),
            "{error}"
        );
    }
}
