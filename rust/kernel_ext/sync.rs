// SPDX-License-Identifier: GPL-2.0

//! Synchronisation primitives that `kernel::sync` lacks.

mod completion;
mod set_once;
mod stack;
mod wait_queue;

pub use completion::Completion;
pub use set_once::SetOnce;
pub use stack::{Chain, Stack, StackNode};
pub use wait_queue::{poll, WaitQueue};
