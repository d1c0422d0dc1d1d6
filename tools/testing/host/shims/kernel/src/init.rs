// SPDX-License-Identifier: GPL-2.0

//! Initialisers.
//!
//! In the kernel they build a value where it will stay. Here a value is built and then moved: what
//! the host's C functions initialise is a number, which is as good in any place.

use crate::alloc::Flags;
use crate::error::Error;
use core::convert::Infallible;
use core::marker::PhantomData;

/// What makes a `T`.
pub trait PinInit<T, E = Infallible>: Sized {
    /// Makes it.
    fn make(self) -> Result<T, E>;
}

impl<T, E> PinInit<T, E> for T {
    fn make(self) -> Result<T, E> {
        Ok(self)
    }
}

struct FromFn<F, T, E>(F, PhantomData<fn() -> (T, E)>);

impl<F, T, E> PinInit<T, E> for FromFn<F, T, E>
where
    F: FnOnce() -> Result<T, E>,
{
    fn make(self) -> Result<T, E> {
        (self.0)()
    }
}

/// An initialiser that is a function.
pub fn from_fn<T, E>(f: impl FnOnce() -> Result<T, E>) -> impl PinInit<T, E> {
    FromFn(f, PhantomData)
}

/// A value of an initialiser that cannot fail.
pub fn infallible<T>(init: impl PinInit<T>) -> T {
    match init.make() {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

/// Makes a value in memory of its own.
pub trait InPlaceInit<T>: Sized {
    /// The pinned form.
    type Pinned;

    /// Allocates, and makes the value there.
    fn pin_init<E>(init: impl PinInit<T, E>, flags: Flags) -> Result<Self::Pinned, Error>
    where
        Error: From<E>;
}

/// An initialiser, field by field: a value, or `field <- initialiser`.
#[macro_export]
macro_rules! pin_init {
    ($name:ident { $($fields:tt)* }) => {
        $crate::init::from_fn::<_, ::core::convert::Infallible>(move || {
            Ok($crate::__fields!(infallible, $name, {}, $($fields)*))
        })
    };
}

/// The same where a field's initialiser may fail.
#[macro_export]
macro_rules! try_pin_init {
    ($name:ident { $($fields:tt)* }) => {
        $crate::try_pin_init!($name { $($fields)* }? $crate::error::Error)
    };
    ($name:ident { $($fields:tt)* }? $error:ty) => {
        $crate::init::from_fn::<_, $error>(move || {
            Ok($crate::__fields!(fallible, $name, {}, $($fields)*))
        })
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __fields {
    ($how:ident, $name:ident, {$($done:tt)*}, $(,)?) => { $name { $($done)* } };
    ($how:ident, $name:ident, {$($done:tt)*}, $field:ident <- $init:expr $(, $($rest:tt)*)?) => {
        $crate::__fields!($how, $name,
            {$($done)* $field: $crate::__made!($how, $init),}, $($($rest)*)?)
    };
    ($how:ident, $name:ident, {$($done:tt)*}, $field:ident : $value:expr $(, $($rest:tt)*)?) => {
        $crate::__fields!($how, $name, {$($done)* $field: $value,}, $($($rest)*)?)
    };
    ($how:ident, $name:ident, {$($done:tt)*}, $field:ident $(, $($rest:tt)*)?) => {
        $crate::__fields!($how, $name, {$($done)* $field,}, $($($rest)*)?)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __made {
    (infallible, $init:expr) => {
        $crate::init::infallible($init)
    };
    (fallible, $init:expr) => {
        $crate::init::PinInit::make($init)?
    };
}
