// SPDX-License-Identifier: GPL-2.0

//! Kernel log lines, with a prefix of the crate's choice.
//!
//! C header: `include/linux/printk.h`
//!
//! A crate that uses these macros defines `LOG_PREFIX: &[u8]` at its root, with a NUL at the end.
//! The macros add the newline. Errors and warnings are rate limited for each place in the source,
//! as user space can cause most of them at will.

use cachefiles_bindings as bindings;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use kernel::print::{call_printk, format_strings};

#[doc(inline)]
pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_notice as notice,
    __log_warn as warn,
};

/// How serious a line is.
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

/// Prints one line unless `limit` is exhausted; tells how many were left out before it.
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

/// Allows [`RateLimit::BURST`] lines in [`RateLimit::INTERVAL`] seconds: what printk's own limit
/// allows by default.
///
/// Counts with plain atomics, so that it can be a static and works in any context. Two lines at
/// the very turn of an interval may be counted to the wrong one, which does no harm.
#[derive(Default)]
pub struct RateLimit {
    /// When the interval began, in seconds since boot.
    began: AtomicU32,
    /// Lines asked for since then.
    asked: AtomicU32,
}

impl RateLimit {
    /// Lines an interval.
    pub const BURST: u32 = 10;
    /// Seconds.
    pub const INTERVAL: u32 = 5;

    /// A limit that has admitted nothing yet.
    pub const fn new() -> Self {
        Self {
            began: AtomicU32::new(0),
            asked: AtomicU32::new(0),
        }
    }

    /// Whether one more line may be printed, and how many were refused before it.
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

/// Prints what is normal but worth notice.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_notice {
    ($($arg:tt)+) => {
        $crate::log::print(
            $crate::log::Level::Notice,
            $crate::__log_prefix!(),
            ::core::format_args!($($arg)+),
        )
    };
}

/// Prints an information.
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

/// Prints for debugging, while the module parameter `debug` is not 0.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($arg:tt)+) => {
        if $crate::params::debug_mask() != 0 {
            $crate::log::print(
                $crate::log::Level::Debug,
                $crate::__log_prefix!(),
                ::core::format_args!($($arg)+),
            )
        }
    };
}

/// The prefix of the crate that uses the macro, not of this one.
#[doc(hidden)]
#[macro_export]
#[expect(clippy::crate_in_macro_def, reason = "each crate has its own prefix")]
macro_rules! __log_prefix {
    () => {
        crate::LOG_PREFIX
    };
}
