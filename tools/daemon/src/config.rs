// SPDX-License-Identifier: GPL-2.0
//! The configuration file: options of the command line, by their own names, in TOML.
//!
//! It is made into arguments that are put in front of those that were given, which so have the last
//! word. So each option is declared once, and what holds for it in one place holds in the other.
//! `serve`, `supervise`, `verify` and `index` share a file: each leaves out what only the others
//! have.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The commands that have a configuration.
const COMMANDS: [&str; 4] = ["serve", "supervise", "verify", "index"];

/// Options that say how this process was started, and not what it is to do.
const NOT_CONFIGURED: [&str; 6] = ["config", "fd-from", "control", "restore", "help", "version"];

/// Options of which there can be one only: one that is given takes the place of one in the file.
const ALTERNATIVES: [[&str; 3]; 1] = [["blobs", "url", "image"]];

/// What is wrong in a configuration file, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}:{line}: {what}", path.display())]
pub struct ConfigError {
    path: PathBuf,
    /// From 1 on.
    line: usize,
    what: String,
}

/// Puts the options of the file that `--config` names, if it is given, in front of the others.
pub fn expand(arguments: Vec<OsString>, cli: &Command) -> Result<Vec<OsString>> {
    let command = |name: &OsString| {
        let is_it = |command: &&str| name == *command;
        COMMANDS.into_iter().find(is_it)
    };
    let found = (1..).zip(arguments.iter().skip(1).map(command));
    let Some((at, command)) = found.filter_map(|(at, it)| Some((at, it?))).next() else {
        return Ok(arguments);
    };
    let (before, given) = arguments.split_at(at + 1);
    let Some(path) = value_of(given, "config") else {
        return Ok(arguments);
    };
    let path = Path::new(path);
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {}", path.display()))?;
    let file = File {
        path,
        text: &text,
        cli,
    };
    let configured = file.arguments(command, before, given)?;
    Ok([before, &configured, given].concat())
}

/// The value of an option among arguments; the last one, if it is there more than once.
fn value_of<'a>(arguments: &'a [OsString], option: &str) -> Option<&'a OsStr> {
    let flag = format!("--{option}");
    let mut value = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if *argument == *flag {
            value = rest.next().map(OsString::as_os_str);
        } else if let Some(text) = argument.to_str().and_then(|it| it.strip_prefix(&flag)) {
            value = text.strip_prefix('=').map(OsStr::new).or(value);
        }
    }
    value
}

/// A file that is being understood.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    cli: &'a Command,
}

impl File<'_> {
    fn error(&self, span: Range<usize>, what: impl fmt::Display) -> ConfigError {
        let before = self.text.as_bytes().iter().take(span.start);
        ConfigError {
            path: self.path.to_owned(),
            line: 1 + before.filter(|&&byte| byte == b'\n').count(),
            what: what.to_string(),
        }
    }

    /// What the file says for a command, apart from what is given in place of it: before the
    /// command, where an option would count less than one behind it, or in another way.
    fn arguments(
        &self,
        command: &str,
        before: &[OsString],
        given: &[OsString],
    ) -> Result<Vec<OsString>, ConfigError> {
        let table = DeTable::parse(self.text)
            .map_err(|error| self.error(error.span().unwrap_or_default(), error.message()))?;
        let mut arguments = Vec::new();
        for (key, value) in table.get_ref() {
            let name = key.get_ref().replace('_', "-");
            // With a dash it would be another way to write the same.
            let known = (!key.get_ref().contains('-')).then(|| self.option(command, &name));
            let (option, is_of_command) = known
                .flatten()
                .ok_or_else(|| self.error(key.span(), format!("unknown key {}", key.get_ref())))?;
            let values = self.values(key.get_ref(), option, value)?;
            let is_given_before = value_of(before, &name).is_some();
            if is_of_command && !is_given_before && !is_replaced(&name, given) {
                arguments.extend(values);
            }
        }
        Ok(arguments)
    }

    /// The option of a name, and whether the command has it, or else only another one.
    fn option(&self, command: &str, name: &str) -> Option<(&Arg, bool)> {
        let of = |command: &str| {
            let its = self.cli.find_subcommand(command).into_iter();
            let mut all = its
                .flat_map(Command::get_arguments)
                .chain(self.cli.get_arguments().filter(|it| it.is_global_set()));
            all.find(|it| it.get_long() == Some(name))
        };
        if NOT_CONFIGURED.contains(&name) {
            return None;
        }
        let others = || COMMANDS.into_iter().find_map(of);
        of(command)
            .map(|option| (option, true))
            .or_else(|| others().map(|option| (option, false)))
    }

    /// The arguments for one key.
    fn values(
        &self,
        key: &str,
        option: &Arg,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<OsString>, ConfigError> {
        let is_flag = matches!(option.get_action(), ArgAction::SetTrue);
        let is_list = matches!(option.get_action(), ArgAction::Append);
        let wanted = match (is_flag, is_list) {
            (true, _) => "true or false",
            (_, true) => "a table of texts",
            _ => "a text or a number",
        };
        let name = option.get_long().unwrap_or_default();
        let text = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
            other => {
                let what = format!("{key}: {wanted} is wanted, not {}", other.type_str());
                Err(self.error(value.span(), what))
            }
        };
        let argument = |at: Range<usize>, text: String| {
            self.check(option, &text)
                .map_err(|what| self.error(at, format!("{key}: {what}")))?;
            Ok(OsString::from(format!("--{name}={text}")))
        };
        match value.get_ref() {
            DeValue::Boolean(given) if is_flag => {
                let flag = given.then(|| OsString::from(format!("--{name}")));
                Ok(flag.into_iter().collect())
            }
            DeValue::Table(table) if is_list => {
                let pair = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                    let text = format!("{}={}", name.get_ref(), text(value)?);
                    argument(value.span(), text)
                };
                table.iter().map(pair).collect()
            }
            _ if !is_flag && !is_list => Ok(vec![argument(value.span(), text(value)?)?]),
            other => {
                let what = format!("{key}: {wanted} is wanted, not {}", other.type_str());
                Err(self.error(value.span(), what))
            }
        }
    }

    /// Whether an option takes a value; the error says why not.
    fn check(&self, option: &Arg, text: &str) -> Result<(), String> {
        let alone = Arg::new("value")
            .long("value")
            .action(ArgAction::Set)
            .value_parser(option.get_value_parser().clone());
        let argument = format!("--value={text}");
        let checked = Command::new("check")
            .arg(alone)
            .try_get_matches_from(["check".to_owned(), argument]);
        checked.map(drop).map_err(|error| {
            let said = error.to_string();
            let said = said.lines().next().unwrap_or_default();
            said.trim_start_matches("error: ")
                .replace(" for '--value <value>'", "")
        })
    }
}

/// Whether the command line has something in place of an option of the file.
fn is_replaced(name: &str, given: &[OsString]) -> bool {
    ALTERNATIVES
        .iter()
        .filter(|both| both.contains(&name))
        .flatten()
        .any(|option| value_of(given, option).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cli() -> Command {
        let option = |name: &'static str| Arg::new(name).long(name);
        let both = [
            option("config"),
            option("dir"),
            option("blobs"),
            option("url"),
            option("fcull").value_parser(clap::value_parser!(u8).range(0..100)),
            option("stop-in-use").action(ArgAction::SetTrue),
            option("digest").action(ArgAction::Append),
        ];
        let pid_file = option("pid-file");
        Command::new("x")
            .arg(option("log-level").global(true))
            .subcommand(Command::new("serve").args(both.clone()))
            .subcommand(Command::new("supervise").args(both).arg(pid_file))
    }

    fn expanded(text: &str, arguments: &[&str]) -> Result<Vec<String>> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), text)?;
        let mut all: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        all.push("--config".into());
        all.push(file.path().into());
        let all = expand(all, &cli()).map_err(|error| {
            anyhow::anyhow!("{error:#}").context(file.path().display().to_string())
        })?;
        let texts = all.iter().map(|it| it.to_string_lossy().into_owned());
        Ok(texts.take(all.len() - 2).collect())
    }

    #[test]
    fn options_of_the_file_stand_before_those_that_are_given() {
        let text = "dir = '/c'\nfcull = 5\nstop_in_use = true\nlog_level = 'debug'\n\
                    pid_file = '/p'\n[digest]\na = 'x'\nb = 'y'\n";
        let mut got = expanded(text, &["x", "serve", "--dir", "/d"]).unwrap();
        assert_eq!(got.split_off(8), ["--dir", "/d"]);
        got[2..].sort();
        let wanted = [
            "--digest=a=x",
            "--digest=b=y",
            "--dir=/c",
            "--fcull=5",
            "--log-level=debug",
        ];
        assert_eq!(got[..2], ["x", "serve"]);
        assert_eq!(got[2..7], wanted);
        assert_eq!(got[7], "--stop-in-use");
        let got = expanded("pid_file = '/p'\nstop_in_use = false", &["x", "supervise"]).unwrap();
        assert_eq!(got, ["x", "supervise", "--pid-file=/p"]);
    }

    #[test]
    fn what_is_given_before_the_command_counts_more_than_the_file() {
        for given in [
            &["x", "--log-level=info", "serve"][..],
            &["x", "--log-level", "info", "serve"],
        ] {
            assert_eq!(expanded("log_level = 'debug'", given).unwrap(), given);
        }
    }

    #[test]
    fn one_source_takes_the_place_of_another() {
        for given in [&["--url", "http://h/"][..], &["--url=http://h/"]] {
            let arguments = [&["x", "serve"][..], given].concat();
            assert_eq!(expanded("blobs = '/b'", &arguments).unwrap(), arguments);
        }
        let got = expanded("blobs = '/b'", &["x", "serve"]).unwrap();
        assert_eq!(got, ["x", "serve", "--blobs=/b"]);
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let error = |text: &str| {
            let error = expanded(text, &["x", "serve"]).unwrap_err();
            let (path, said) = (error.to_string(), format!("{:#}", error.source().unwrap()));
            said.strip_prefix(&path).unwrap_or(&said).to_owned()
        };
        assert_eq!(error("\ncolour = 1"), ":2: unknown key colour");
        assert_eq!(error("stop-in-use = true"), ":1: unknown key stop-in-use");
        assert_eq!(error("config = 'x'"), ":1: unknown key config");
        assert_eq!(error("# a\n\n[cache]\ndir = '/x'"), ":3: unknown key cache");
        let said = error("dir = '/d'\nfcull = 100\n");
        assert!(said.starts_with(":2: fcull: invalid value '100'"), "{said}");
        assert!(said.contains("0..=99") || said.contains("0..100"), "{said}");
        let wrong = [
            (
                "fcull = true",
                "fcull: a text or a number is wanted, not boolean",
            ),
            (
                "fcull = 1.5",
                "fcull: a text or a number is wanted, not float",
            ),
            (
                "stop_in_use = 'yes'",
                "stop_in_use: true or false is wanted, not string",
            ),
            (
                "digest = 'x'",
                "digest: a table of texts is wanted, not string",
            ),
            (
                "[digest]\na = 1.0",
                "digest: a table of texts is wanted, not float",
            ),
        ];
        for (text, wanted) in wrong {
            let said = error(text);
            assert_eq!(said.split_once(": ").unwrap().1, wanted);
        }
        for text in ["dir = ", "dir = '/a'\ndir = '/b'", "dir", "= 1", "\u{0}"] {
            let said = error(text);
            assert!(said.starts_with(':'), "{said}");
        }
        assert!(error("fcull = 1\ndir = ").starts_with(":2: "));
    }

    #[test]
    fn without_a_file_nothing_is_changed() {
        for arguments in [
            &["x"][..],
            &["x", "serve", "--dir", "/d"],
            &["x", "stats", "--config"],
        ] {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            assert_eq!(expand(arguments.clone(), &cli()).unwrap(), arguments);
        }
        let absent = ["x", "serve", "--config=/absent"].map(OsString::from);
        let error = expand(absent.to_vec(), &cli()).unwrap_err();
        assert!(format!("{error:#}").contains("/absent"), "{error:#}");
    }
}
