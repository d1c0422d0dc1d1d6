// SPDX-License-Identifier: GPL-2.0

//! Kernel log lines, with a prefix of the crate's choice.
//!
//! C header: `include/linux/printk.h`
//!
//! A crate that uses these macros defines `LOG_PREFIX: &[u8]` at its root, with a NUL at the end.
//! The macros add the newline. Errors, warnings and notices are rate limited for each place in the
//! source, as user space can cause most of them at will. The steps in the life of a cache and of
//! the module, and debugging output, are printed without a limit.

use crate::{params, task::current_name};
use cachefiles_bindings as bindings;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use kernel::print::{call_printk, format_strings};

#[doc(inline)]
pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_notice as notice,
    __log_span as span, __log_warn as warn,
};

/// The log level of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `KERN_ERR`
    Error,
    /// `KERN_WARNING`
    Warning,
    /// `KERN_NOTICE`
    Notice,
    /// `KERN_INFO`
    Info,
    /// `KERN_DEBUG`
    Debug,
}

/// Prints one line. Any context. Use the macros of this module.
///
/// A `prefix` that lacks its NUL is replaced by `?`.
#[doc(hidden)]
#[cold]
pub fn print(level: Level, prefix: &[u8], args: fmt::Arguments<'_>) {
    let format = match level {
        Level::Error => &format_strings::ERR,
        Level::Warning => &format_strings::WARNING,
        Level::Notice => &format_strings::NOTICE,
        Level::Info => &format_strings::INFO,
        Level::Debug => &format_strings::DEBUG,
    };
    let prefix = if prefix.last() == Some(&0) {
        prefix
    } else {
        b"?\0"
    };
    // SAFETY: The format string is one of `format_strings`, and the prefix ends with a NUL.
    unsafe { call_printk(format, prefix, format_args!("{args}\n")) };
}

/// Prints one line unless `limit` is exhausted, with the number of lines left out before it.
#[doc(hidden)]
#[cold]
pub fn print_limited(limit: &RateLimit, level: Level, prefix: &[u8], args: fmt::Arguments<'_>) {
    if let Some(suppressed) = limit.admit() {
        if suppressed > 0 {
            print(
                level,
                prefix,
                format_args!("{suppressed} messages like the next were left out"),
            );
        }
        print(level, prefix, args);
    }
}

/// The bit of `debug` for the beginning of operations.
pub const BEGINNINGS: u32 = 1;
/// The bit of `debug` for the end of operations.
pub const ENDS: u32 = 2;
/// The bit of `debug` for notes on the way.
pub const NOTES: u32 = 4;

/// Returns whether one of the streams of debugging output is enabled.
#[inline]
pub fn is_on(streams: u32) -> bool {
    params::debug_mask() & streams != 0
}

/// Prints one line of a debugging stream. Any context. Use the macros of this module.
#[doc(hidden)]
#[cold]
pub fn print_debug(prefix: &[u8], args: fmt::Arguments<'_>) {
    let name = current_name();
    let name = name.split(|&byte| byte == 0).next().unwrap_or(&[]);
    print(
        Level::Debug,
        prefix,
        format_args!("[{}] {}", name.escape_ascii(), args),
    );
}

/// The name and prefix that [`span`] prints for an operation.
#[doc(hidden)]
pub struct Operation {
    /// The name of the function.
    pub name: &'static str,
    /// The prefix, as for [`print`].
    pub prefix: &'static [u8],
}

/// An operation under way, for the debugging streams. See [`span`].
#[must_use = "the operation ends when this is dropped"]
pub struct Span(&'static Operation);

impl Span {
    /// Begins a span; use [`span`].
    #[doc(hidden)]
    #[inline]
    pub fn new(operation: &'static Operation) -> Self {
        Self(operation)
    }

    /// Begins a span; use [`span`].
    #[doc(hidden)]
    #[cold]
    pub fn print_beginning(operation: &'static Operation, args: fmt::Arguments<'_>) {
        let Operation { name, prefix } = *operation;
        print_debug(prefix, format_args!("==> {name}({args})"));
    }

    #[cold]
    fn print_end(operation: &'static Operation) {
        let Operation { name, prefix } = *operation;
        print_debug(prefix, format_args!("<== {name}()"));
    }
}

impl Drop for Span {
    /// Checks again whether the stream is enabled: a flag kept from the beginning would make the
    /// compiler duplicate the code of the whole operation.
    #[inline]
    fn drop(&mut self) {
        if is_on(ENDS) {
            Self::print_end(self.0);
        }
    }
}

/// Allows [`RateLimit::BURST`] lines in [`RateLimit::INTERVAL`] seconds, as the limit of printk
/// does by default.
///
/// Counts with plain atomics, so that it can be a static and works in any context. A line at the
/// turn of an interval may be counted to the wrong one, which does no harm.
#[derive(Default)]
pub struct RateLimit {
    /// The beginning of the interval, in seconds since boot.
    began: AtomicU32,
    /// Lines requested since then.
    asked: AtomicU32,
}

impl RateLimit {
    /// Lines per interval.
    pub const BURST: u32 = 10;
    /// Length of an interval in seconds.
    pub const INTERVAL: u32 = 5;

    /// Creates a limit that has admitted no line yet.
    pub const fn new() -> Self {
        Self {
            began: AtomicU32::new(0),
            asked: AtomicU32::new(0),
        }
    }

    /// Admits one more line, and returns how many were refused before it; `None` if it is refused.
    fn admit(&self) -> Option<u32> {
        // SAFETY: Reads the clock, in any context.
        let seconds = unsafe { bindings::ktime_get_seconds() };
        // Only differences count, so the low half is enough.
        let now = u32::try_from(seconds & i64::from(u32::MAX)).unwrap_or(0);
        let began = self.began.load(Ordering::Relaxed);
        if now.wrapping_sub(began) >= Self::INTERVAL
            && self
                .began
                .compare_exchange(began, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            let asked = self.asked.swap(1, Ordering::Relaxed);
            return Some(asked.saturating_sub(Self::BURST));
        }
        (self.asked.fetch_add(1, Ordering::Relaxed) < Self::BURST).then_some(0)
    }
}

/// Prints an error. Rate limited.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($arg:tt)+) => {{
        static LIMIT: $crate::log::RateLimit = $crate::log::RateLimit::new();
        $crate::log::print_limited(
            &LIMIT,
            $crate::log::Level::Error,
            $crate::__log_prefix!(),
            ::core::format_args!($($arg)+),
        )
    }};
}

/// Prints a warning. Rate limited.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($arg:tt)+) => {{
        static LIMIT: $crate::log::RateLimit = $crate::log::RateLimit::new();
        $crate::log::print_limited(
            &LIMIT,
            $crate::log::Level::Warning,
            $crate::__log_prefix!(),
            ::core::format_args!($($arg)+),
        )
    }};
}

/// Prints a notice: a normal event that deserves attention. Rate limited.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_notice {
    ($($arg:tt)+) => {{
        static LIMIT: $crate::log::RateLimit = $crate::log::RateLimit::new();
        $crate::log::print_limited(
            &LIMIT,
            $crate::log::Level::Notice,
            $crate::__log_prefix!(),
            ::core::format_args!($($arg)+),
        )
    }};
}

/// Prints an informational line.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($arg:tt)+) => {
        $crate::log::print(
            $crate::log::Level::Info,
            $crate::__log_prefix!(),
            ::core::format_args!($($arg)+),
        )
    };
}

/// Prints a debugging line, with the name of the task in front, while the module parameter `debug`
/// has the bit 4.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($arg:tt)+) => {
        if $crate::log::is_on($crate::log::NOTES) {
            $crate::log::print_debug($crate::__log_prefix!(), ::core::format_args!($($arg)+))
        }
    };
}

/// Prints that an operation begins, while `debug` has the bit 1, and that it is over when the value
/// is dropped, while `debug` has the bit 2.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_span {
    ($name:literal) => { $crate::log::span!($name, "") };
    ($name:literal, $($arg:tt)+) => {{
        static OPERATION: $crate::log::Operation = $crate::log::Operation {
            name: $name,
            prefix: $crate::__log_prefix!(),
        };
        if $crate::log::is_on($crate::log::BEGINNINGS) {
            $crate::log::Span::print_beginning(&OPERATION, ::core::format_args!($($arg)+));
        }
        $crate::log::Span::new(&OPERATION)
    }};
}

/// Expands to the prefix of the crate that uses the macro, not of this one.
#[doc(hidden)]
#[macro_export]
#[expect(clippy::crate_in_macro_def, reason = "each crate has its own prefix")]
macro_rules! __log_prefix {
    () => {
        crate::LOG_PREFIX
    };
}
