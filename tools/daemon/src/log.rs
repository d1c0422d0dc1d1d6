// SPDX-License-Identifier: GPL-2.0
//! Where log lines go: to standard error, with priorities where that is systemd's journal.

use std::fmt;
use std::os::fd::AsFd;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Logs what is at least as grave as `level` to standard error, from now on.
pub fn begin(level: LevelFilter) {
    let format = tracing_subscriber::fmt::format()
        .with_ansi(false)
        .with_target(false)
        .without_time();
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    let of_others = filter(level);
    if stderr_is_the_journal() {
        let format = ForJournal(format.with_level(false));
        builder.event_format(format).finish().with(of_others).init();
    } else {
        builder.event_format(format).finish().with(of_others).init();
    }
}

/// The HTTP client shows whole URLs on its finest level, and the keys that stores have in theirs.
fn filter(level: LevelFilter) -> Targets {
    let client = level.min(LevelFilter::DEBUG);
    Targets::new()
        .with_default(level)
        .with_targets([("ureq", client), ("ureq_proto", client)])
}

/// systemd says which file the journal gave it; standard error may have been redirected since.
fn stderr_is_the_journal() -> bool {
    let Ok(said) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr().as_fd())
        .is_ok_and(|stat| said == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Puts the priority in front of each line, as sd-daemon(3) has it, in place of the level's name.
struct ForJournal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for ForJournal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}
