// SPDX-License-Identifier: GPL-2.0

//! The module's parameters, at their defaults.

/// Fds are closed on exec.
pub fn inherit_fds() -> bool {
    false
}

/// Refusals until the readers are told.
pub fn reopen_tries() -> u32 {
    3
}

/// Nothing is asked for ahead of readers.
pub fn readahead() -> u32 {
    0
}
