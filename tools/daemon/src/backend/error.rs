// SPDX-License-Identifier: GPL-2.0
//! Why a source does not give what it was asked for.

use std::fmt;
use std::io;
use std::time::Duration;

use cachefiles_protocol::Errno;

/// What kind of failure it is: whether trying again may help, and what the mounting process sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is no such blob.
    Absent,
    /// The source does not let this daemon have it.
    Denied,
    /// It is another blob now.
    Changed,
    /// It is not what its index says.
    Corrupt,
    /// The source answers something that is of no use, and would again.
    Useless,
    /// It may pass: no connection, a server that is busy, an answer that was cut off.
    Passing,
}

impl Fault {
    fn errno(self) -> Errno {
        match self {
            Self::Absent => Errno::NOENT,
            Self::Denied => Errno::ACCESS,
            Self::Changed => Errno::STALE,
            Self::Corrupt | Self::Useless | Self::Passing => Errno::IO,
        }
    }
}

/// A failure of a source, in words. It travels inside an [`io::Error`].
#[derive(Debug)]
pub struct SourceError {
    fault: Fault,
    message: String,
    retry_after: Option<Duration>,
}

impl SourceError {
    /// A failure of that kind.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            fault,
            message,
            retry_after: None,
        }
    }

    /// The same, where the source has said for how long it is not to be asked again.
    pub fn until(self, retry_after: Option<Duration>) -> Self {
        Self {
            retry_after,
            ..self
        }
    }

    /// The same, saying of what.
    pub fn of(self, what: impl fmt::Display) -> Self {
        let message = format!("{what}: {}", self.message);
        Self { message, ..self }
    }

    /// For how long the source is not to be asked again, if it has said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Its kind.
    pub fn fault(&self) -> Fault {
        self.fault
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SourceError {}

impl From<SourceError> for io::Error {
    fn from(error: SourceError) -> Self {
        Self::other(error)
    }
}

/// The source's failure that is inside an error, if that is what it is.
pub fn source_error(error: &io::Error) -> Option<&SourceError> {
    error.get_ref()?.downcast_ref()
}

/// The number of an error: what the system call gave, or what stands for the source's failure.
pub fn errno(error: &io::Error) -> Option<Errno> {
    match source_error(error) {
        Some(error) => Some(error.fault.errno()),
        None => Errno::from_io_error(error),
    }
}

/// Whether a source failed in a way that may pass.
pub fn may_pass(error: &io::Error) -> bool {
    source_error(error).is_some_and(|error| error.fault == Fault::Passing)
}

/// For how long a source does not want to be asked again, if it has said so.
pub fn retry_after(error: &io::Error) -> Option<Duration> {
    source_error(error)?.retry_after
}
