// SPDX-License-Identifier: GPL-2.0
//! The kernel log from a point in time on, and what in it must never be there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use cachefiles_results::complaints;

/// A reader of the kernel log that starts at its present end.
pub struct KernelLog {
    file: File,
}

impl KernelLog {
    /// Starts to listen: what was logged before is not seen.
    pub fn from_now() -> io::Result<Self> {
        let mut file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file })
    }

    /// The lines logged since the last call.
    pub fn lines(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut record = vec![0; 8192];
        loop {
            match self.file.read(&mut record) {
                Ok(0) => return Ok(lines),
                Ok(length) => {
                    let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                    lines.push(message(&text));
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(lines),
                    // The ring overtook the reader: go on with what is left.
                    Some(libc::EPIPE) => lines.push("(lines of the kernel log were lost)".into()),
                    _ => return Err(error),
                },
            }
        }
    }
}

/// Returns those of `lines` that tell of a broken kernel, as `scripts/splats` finds them in a
/// console log.
pub fn splats(lines: &[String]) -> Vec<&String> {
    complaints::find(lines)
        .into_iter()
        .filter_map(|place| lines.get(place))
        .collect()
}

/// A record is `prefix;text` followed by lines of a machine-readable dictionary.
fn message(record: &str) -> String {
    let text = record.split_once(';').map_or(record, |(_, text)| text);
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_reduced_to_its_text() {
        assert_eq!(
            message("4,705,14,-;WARNING: CPU: 0 at x\n SUBSYSTEM=net\n"),
            "WARNING: CPU: 0 at x"
        );
    }

    #[test]
    fn splats_are_found_and_plain_lines_are_not() {
        let lines = [
            "CacheFiles: File cache on x registered".to_owned(),
            "INFO: task cat:12 blocked for more than 60 seconds.".to_owned(),
        ];
        assert_eq!(splats(&lines), [&lines[1]]);
    }
}
