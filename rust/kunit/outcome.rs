// SPDX-License-Identifier: GPL-2.0

//! The outcome of a test, and the macros that end one.

use crate::bindings;
use core::fmt::{self, Write};
use core::panic::Location;
use kernel::alloc::AllocError;
use kernel::error::Error;
use kernel::str::{CStr, CString};

/// The result of a test, or of a function that may end it.
pub type Outcome<T = ()> = Result<T, Stop>;

/// The reason why a test ends early.
///
/// The operator `?` converts an error of the kernel to a failure at that line.
#[derive(Clone, Debug)]
pub struct Stop(Reason);

#[derive(Clone, Debug)]
enum Reason {
    Failed {
        at: &'static Location<'static>,
        expected: &'static str,
        found: Text,
    },
    Skipped(&'static str),
}

impl Stop {
    /// Creates a failure: an expectation that does not hold. Use the macros.
    #[track_caller]
    #[cold]
    pub fn failed(expected: &'static str, found: fmt::Arguments<'_>) -> Self {
        let mut text = Text::EMPTY;
        // Cut where it is too long: it is not an error.
        let _ = text.write_fmt(found);
        Self(Reason::Failed {
            at: Location::caller(),
            expected,
            found: text,
        })
    }

    /// Creates a skip: the test makes no sense here.
    pub fn skipped(why: &'static str) -> Self {
        Self(Reason::Skipped(why))
    }

    /// Tells KUnit. May sleep.
    ///
    /// # Safety
    ///
    /// `test` is the test that this task runs.
    pub(crate) unsafe fn report(self, test: *mut bindings::kunit) {
        match self.0 {
            Reason::Failed {
                at,
                expected,
                found,
            } => {
                let said = format_args!("    Expected {expected}, but {found}\n");
                // SAFETY: By the caller's promise.
                unsafe { report_failure(test, at, said) };
            }
            Reason::Skipped(why) => {
                // SAFETY: By the caller's promise. KUnit itself sets both fields just like this, in
                // the task that runs the test.
                unsafe {
                    (&raw mut (*test).status).write_volatile(bindings::kunit_status_KUNIT_SKIPPED);
                    // All but the last byte, which stays the 0 that KUnit has put there.
                    let comment = &mut (*test).status_comment;
                    let room = comment.len() - 1;
                    for (to, from) in comment[..room].iter_mut().zip(why.bytes().chain([0])) {
                        *to = from as _;
                    }
                }
            }
        }
    }
}

/// # Safety
///
/// `test` is the test that this task runs.
unsafe fn report_failure(test: *mut bindings::kunit, at: &Location<'_>, said: fmt::Arguments<'_>) {
    let file = CString::try_from_fmt(format_args!("{}", at.file()));
    let file: &CStr = file.as_deref().unwrap_or(kernel::c_str!("?"));
    let location = bindings::kunit_loc {
        line: i32::try_from(at.line()).unwrap_or(0),
        file: file.as_char_ptr(),
    };
    let assertion = bindings::kunit_fail_assert::default();
    // SAFETY: By the caller's promise. What is pointed to outlives the call; the function that
    // formats takes an assertion of this kind, and `%pA` a pointer to such arguments.
    unsafe {
        bindings::__kunit_do_failed_assertion(
            test,
            &location,
            bindings::kunit_assert_type_KUNIT_ASSERTION,
            &assertion.assert,
            Some(bindings::kunit_fail_assert_format),
            kernel::c_str!("%pA").as_char_ptr(),
            core::ptr::from_ref(&said).cast::<core::ffi::c_void>(),
        )
    };
}

impl From<Error> for Stop {
    #[track_caller]
    fn from(error: Error) -> Self {
        Self::failed("no error", format_args!("it is {error:?}"))
    }
}

impl From<AllocError> for Stop {
    #[track_caller]
    fn from(_: AllocError) -> Self {
        Self::failed("no error", format_args!("there is no memory"))
    }
}

impl<T> From<(Error, T)> for Stop {
    #[track_caller]
    fn from((error, _): (Error, T)) -> Self {
        error.into()
    }
}

/// A short text that needs no allocation: tests fail with locks held, too.
#[derive(Clone)]
struct Text {
    bytes: [u8; Self::CAPACITY],
    len: u8,
}

impl Text {
    // So that a `Result` with a `Stop` stays small enough to be passed around.
    const CAPACITY: usize = 87;

    const EMPTY: Self = Self {
        bytes: [0; Self::CAPACITY],
        len: 0,
    };

    fn as_str(&self) -> &str {
        let bytes = &self.bytes[..self.len.into()];
        match core::str::from_utf8(bytes) {
            Ok(text) => text,
            // It was cut within a character.
            Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or("?"),
        }
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len.into()..];
        for (to, from) in room.iter_mut().zip(text.bytes()) {
            *to = from;
            self.len += 1;
        }
        Ok(())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The time that a test waits for a condition, in seconds: hosts may be busy.
const PATIENCE: i64 = 40;

/// Waits until a condition holds, by polling it. Sleeps. Fails after too long a time.
#[track_caller]
pub fn wait_until(what: &'static str, mut is_so: impl FnMut() -> bool) -> Outcome {
    if comes_true(PATIENCE, &mut is_so) {
        Ok(())
    } else {
        let found = format_args!("that is not so after {PATIENCE} s");
        Err(Stop::failed(what, found))
    }
}

/// Polls a condition for some seconds, and returns whether it holds. Sleeps.
pub(crate) fn comes_true(seconds: i64, is_so: &mut dyn FnMut() -> bool) -> bool {
    // SAFETY: Reads the clock.
    let now = || unsafe { bindings::ktime_get_seconds() };
    let begin = now();
    loop {
        if is_so() {
            return true;
        }
        if now() - begin > seconds {
            return false;
        }
        // SAFETY: Tests run in tasks that may sleep.
        unsafe { bindings::msleep(2) };
    }
}

/// Ends the test if a condition is false. The actual state can be reported: `ensure!(a < b, "a is
/// {a}")`.
#[macro_export]
macro_rules! ensure {
    ($condition:expr $(,)?) => {
        $crate::ensure!($condition, "it is not so")
    };
    ($condition:expr, $($found:tt)+) => {
        if !$condition {
            return ::core::result::Result::Err($crate::Stop::failed(
                ::core::stringify!($condition),
                ::core::format_args!($($found)+),
            ));
        }
    };
}

/// Ends the test if two values are not equal, and reports both.
#[macro_export]
macro_rules! ensure_eq {
    ($left:expr, $right:expr $(,)?) => {
        match (&$left, &$right) {
            (left, right) => {
                if !(*left == *right) {
                    return ::core::result::Result::Err($crate::Stop::failed(
                        ::core::concat!(
                            ::core::stringify!($left),
                            " == ",
                            ::core::stringify!($right)
                        ),
                        ::core::format_args!("left is {left:?}, right is {right:?}"),
                    ));
                }
            }
        }
    };
}

/// Skips the test, which makes no sense here.
#[macro_export]
macro_rules! skip {
    ($why:literal) => {
        return ::core::result::Result::Err($crate::Stop::skipped($why))
    };
}
