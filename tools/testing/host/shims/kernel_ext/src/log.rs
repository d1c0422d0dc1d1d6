// SPDX-License-Identifier: GPL-2.0

//! Log lines, which nobody reads: they are only put together.

pub use crate::__log as debug;
pub use crate::__log as error;
pub use crate::__log as info;
pub use crate::__log as warn;

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($($args:tt)*) => {{
        let _ = ::std::format!($($args)*);
    }};
}
