// SPDX-License-Identifier: GPL-2.0

//! Where a cache is kept: the file system below it, its directories, and what is left of it.

pub(crate) mod dir;
pub(crate) mod in_use;
pub(crate) mod space;

use self::space::Space;
use kernel::types::ARef;
use kernel_ext::cred::{Credential, User};
use kernel_ext::fs::Mount;

/// Where a cache is kept.
pub(crate) struct Backing {
    pub(crate) mount: ARef<Mount>,
    /// What files are opened, made and removed with.
    pub(crate) cred: ARef<Credential>,
    /// The security context that the daemon named.
    pub(crate) security_id: Option<u32>,
    /// Who has bound the cache.
    pub(crate) user: User,
    pub(crate) space: Space,
}
