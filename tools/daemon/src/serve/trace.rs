// SPDX-License-Identifier: GPL-2.0
//! What was read of which blob, in a file: written while it happens, and fetched ahead later.
//!
//! A line for each range: the blob's name (every byte but letters, digits and `-._~:` as `%XX`),
//! the offset and the length in bytes. A name alone stands for the whole blob. What begins with `#`
//! is a comment.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::mem;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use tokio::sync::Semaphore;

use crate::place;

/// What stands for itself in a name.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');

/// How many fetches ahead may be under way at a time: readers are not to wait behind them.
const AHEAD: usize = 4;

/// Traces that are written and fetched.
#[derive(Debug, Clone, Default, Args)]
pub struct TraceArgs {
    /// File to add a line to for each range of a blob that is asked for: a trace for --prefetch
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Trace, or list of blobs, whose ranges are fetched as soon as their blobs are opened
    #[arg(long, value_name = "FILE")]
    pub prefetch: Option<PathBuf>,
}

impl TraceArgs {
    /// Looks whether a worker could start with these.
    pub fn check(&self) -> Result<()> {
        if let Some(path) = &self.record {
            place::check_file(path)?;
        }
        self.prefetch.as_deref().map(read).transpose().map(drop)
    }

    /// Opens what is given.
    pub fn open(&self) -> Result<Traces> {
        let recorder = self.record.as_deref().map(Recorder::new).transpose()?;
        let wanted = self.prefetch.as_deref().map(read).transpose()?;
        Ok(Traces {
            recorder,
            wanted: wanted.unwrap_or_default(),
            ahead: Arc::new(Semaphore::new(AHEAD)),
        })
    }

    /// These options, for another process.
    pub fn arguments(&self) -> Vec<OsString> {
        let options = [("--record", &self.record), ("--prefetch", &self.prefetch)];
        let given = options.into_iter().filter_map(|(option, path)| {
            let path = path.clone()?;
            Some([OsString::from(option), path.into()])
        });
        given.flatten().collect()
    }
}

/// The ranges of each blob, in their order.
type Ranges = HashMap<Vec<u8>, Vec<Range<u64>>>;

/// What is recorded and what is to be fetched.
#[derive(Debug)]
pub struct Traces {
    recorder: Option<Recorder>,
    wanted: Ranges,
    /// Who fetches ahead has one of these.
    pub(super) ahead: Arc<Semaphore>,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            recorder: None,
            wanted: HashMap::new(),
            ahead: Arc::new(Semaphore::new(AHEAD)),
        }
    }
}

impl Traces {
    /// Whether what is read is to be noted.
    pub fn records(&self) -> bool {
        self.recorder.is_some()
    }

    /// Notes that a range of a blob was asked for.
    pub fn note(&self, name: &[u8], range: Range<u64>) {
        if let Some(recorder) = &self.recorder {
            recorder.note(name, range);
        }
    }

    /// Writes what was noted since the last time.
    pub fn write(&self) {
        if let Some(recorder) = &self.recorder {
            recorder.write();
        }
    }

    /// What is to be fetched of a blob when it is opened.
    pub fn wanted(&self, name: &[u8]) -> &[Range<u64>] {
        self.wanted.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Writes a trace.
#[derive(Debug)]
struct Recorder {
    path: PathBuf,
    file: File,
    noted: Mutex<Vec<(Vec<u8>, Range<u64>)>>,
}

impl Recorder {
    fn new(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot write the trace {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            noted: Mutex::default(),
        })
    }

    fn note(&self, name: &[u8], range: Range<u64>) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        match noted.last_mut() {
            // Who reads in sequence is one line.
            Some((known, last)) if known == name && last.end == range.start => {
                last.end = range.end;
            }
            _ => noted.push((name.to_owned(), range)),
        }
    }

    fn write(&self) {
        let noted = mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner));
        let mut lines = String::new();
        for (name, range) in noted {
            let (name, length) = (percent_encode(&name, ENCODED), range.end - range.start);
            lines += &format!("{name} {} {length}\n", range.start);
        }
        if let Err(error) = (&self.file).write_all(lines.as_bytes()) {
            tracing::warn!("cannot write the trace {}: {error}", self.path.display());
        }
    }
}

/// Reads a trace.
fn read(path: &Path) -> Result<Ranges> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the trace {}", path.display()))?;
    let mut all = Ranges::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, range) = understood(line).ok_or_else(|| {
            let place = path.display();
            anyhow!("{place}:{number}: a name, or a name, an offset and a length are wanted")
        })?;
        all.entry(name).or_default().push(range);
    }
    Ok(all)
}

fn understood(line: &str) -> Option<(Vec<u8>, Range<u64>)> {
    let mut words = line.split_ascii_whitespace();
    let name: Vec<u8> = percent_decode_str(words.next()?).collect();
    let range = match (words.next(), words.next(), words.next()) {
        (None, None, None) => 0..u64::MAX,
        (Some(offset), Some(length), None) => {
            let offset: u64 = offset.parse().ok()?;
            offset..offset.checked_add(length.parse().ok()?)?
        }
        _ => return None,
    };
    Some((name, range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_what_is_wanted_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        let args = |record: bool| TraceArgs {
            record: record.then(|| path.clone()),
            prefetch: (!record).then(|| path.clone()),
        };
        let names = [&b"app:1"[..], b"a b#%\n\xff"];
        for _ in 0..2 {
            // The second one goes on with what the first one wrote.
            let traces = args(true).open().unwrap();
            assert!(traces.records());
            traces.note(names[0], 0..4096);
            traces.note(names[0], 4096..8192);
            traces.note(names[1], 8192..12_288);
            traces.write();
            traces.note(names[0], 1 << 40..(1 << 40) + 1);
            traces.write();
            traces.write();
        }
        let lines = "app:1 0 8192\na%20b%23%25%0A%FF 8192 4096\napp:1 1099511627776 1\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), lines.repeat(2));
        let traces = args(false).open().unwrap();
        assert!(!traces.records());
        let ranges = [0..8192, 1 << 40..(1 << 40) + 1];
        assert_eq!(traces.wanted(names[0]), [&ranges[..], &ranges].concat());
        assert_eq!(traces.wanted(names[1]), [8192..12_288, 8192..12_288]);
        assert!(traces.wanted(b"other").is_empty());
    }

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        trace: TraceArgs,
    }

    #[test]
    fn a_worker_gets_the_options_that_its_supervisor_has() {
        use clap::Parser as _;
        let first = ["x", "--record=/r", "--prefetch=/p"];
        let first = Cli::try_parse_from(first).unwrap().trace;
        let passed = [vec![OsString::from("x")], first.arguments()].concat();
        let second = Cli::try_parse_from(passed).unwrap().trace;
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
        assert!(TraceArgs::default().arguments().is_empty());
    }

    #[test]
    fn lists_of_blobs_are_traces_and_errors_name_the_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let args = TraceArgs {
            prefetch: Some(file.path().to_owned()),
            record: None,
        };
        fs::write(file.path(), "# a list\n\n app \nb 4096 0\n").unwrap();
        args.check().unwrap();
        let traces = args.open().unwrap();
        let wanted = |name: &[u8]| traces.wanted(name).first().cloned();
        assert_eq!(wanted(b"app"), Some(0..u64::MAX));
        assert_eq!(wanted(b"b"), Some(4096..4096));
        for wrong in [
            "a 1",
            "a 1 2 3",
            "a -1 2",
            "a 1 x",
            "a 1 18446744073709551615",
        ] {
            fs::write(file.path(), format!("a\n{wrong}\n")).unwrap();
            let error = args.check().unwrap_err().to_string();
            assert!(error.contains(":2: a name"), "{wrong}: {error}");
            assert!(args.open().is_err());
        }
        let absent = TraceArgs {
            prefetch: Some("/absent".into()),
            record: Some("/absent/trace".into()),
        };
        assert!(absent.check().is_err() && absent.open().is_err());
    }
}
