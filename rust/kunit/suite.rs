// SPDX-License-Identifier: GPL-2.0

//! Test suites, as KUnit finds them in a module.

use crate::{bindings, Outcome};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use kernel::ffi::c_char;
use kernel::str::CStr;

/// A test. Use [`suite!`](crate::suite).
pub trait Case {
    /// The name in KUnit's report.
    const NAME: &'static CStr;

    /// Runs the test. May sleep.
    fn run() -> Outcome;
}

/// Runs a test. KUnit calls this in a thread for each test.
///
/// # Safety
///
/// `test` is the test that this task runs.
unsafe extern "C" fn run<C: Case>(test: *mut bindings::kunit) {
    if let Err(stop) = C::run() {
        // SAFETY: By the caller's promise.
        unsafe { stop.report(test) };
    }
}

/// A test in the list of a suite.
#[derive(Clone, Copy)]
pub struct Entry(bindings::kunit_case);

impl Entry {
    /// Creates the entry of a test.
    pub const fn of<C: Case>() -> Self {
        let mut case = Self::END.0;
        case.run_case = Some(run::<C>);
        case.name = C::NAME.as_char_ptr();
        Self(case)
    }

    /// The entry that ends a list.
    const END: Self = {
        // SAFETY: All zeroes is a valid `kunit_case`: numbers, and pointers that may be null.
        Self(unsafe { MaybeUninit::zeroed().assume_init() })
    };
}

/// The tests of a suite.
///
/// # Invariants
///
/// Only KUnit writes to it.
#[repr(C)]
pub struct Cases<const N: usize> {
    list: UnsafeCell<[Entry; N]>,
    end: Entry,
}

// SAFETY: We never touch it after it is made.
unsafe impl<const N: usize> Sync for Cases<N> {}

impl<const N: usize> Cases<N> {
    /// Creates a list of tests.
    pub const fn new(list: [Entry; N]) -> Self {
        Self {
            list: UnsafeCell::new(list),
            end: Entry::END,
        }
    }
}

/// A suite of tests.
///
/// # Invariants
///
/// Only KUnit writes to it. `test_cases` is a list that is static and ends with an empty entry.
pub struct Suite(UnsafeCell<bindings::kunit_suite>);

// SAFETY: We never touch it after it is made.
unsafe impl Sync for Suite {}

impl Suite {
    /// Creates a suite. Fails to compile where the name is too long.
    pub const fn new<const N: usize>(name: &str, cases: &'static Cases<N>) -> Self {
        // SAFETY: All zeroes is a valid `kunit_suite`: numbers, and pointers that may be null.
        let mut suite: bindings::kunit_suite = unsafe { MaybeUninit::zeroed().assume_init() };
        let name = name.as_bytes();
        assert!(name.len() < suite.name.len());
        let mut i = 0;
        while i < name.len() {
            suite.name[i] = name[i] as c_char;
            i += 1;
        }
        // The whole of `cases`, as the end stands behind the list.
        suite.test_cases = core::ptr::from_ref(cases).cast_mut().cast();
        // INVARIANT: A static list, which has an end.
        Self(UnsafeCell::new(suite))
    }
}

/// An entry of the section in which KUnit looks for the suites of a module.
#[repr(transparent)]
pub struct Listed(*mut bindings::kunit_suite);

// SAFETY: A pointer that we never follow.
unsafe impl Sync for Listed {}

impl Listed {
    /// Creates the entry of a suite.
    pub const fn new(suite: &'static Suite) -> Self {
        Self(suite.0.get())
    }
}

/// Gives a list of tests to KUnit, under the name of a suite. The name of a test is that of its
/// function, which returns an [`Outcome`](crate::Outcome).
#[macro_export]
macro_rules! suite {
    ($name:literal, [$($case:ident),+ $(,)?]) => {
        const _: () = {
            $(
                #[allow(non_camel_case_types)]
                struct $case;

                impl $crate::Case for $case {
                    const NAME: &'static ::kernel::str::CStr =
                        ::kernel::c_str!(::core::stringify!($case));

                    fn run() -> $crate::Outcome {
                        // The function, not the type that hides it in here.
                        self::$case()
                    }
                }
            )+

            static CASES: $crate::Cases<{ [$(::core::stringify!($case)),+].len() }> =
                $crate::Cases::new([$($crate::Entry::of::<$case>()),+]);
            static SUITE: $crate::Suite = $crate::Suite::new($name, &CASES);

            #[used]
            #[link_section = ".kunit_test_suites"]
            static LISTED: $crate::Listed = $crate::Listed::new(&SUITE);
        };
    };
}
