// SPDX-License-Identifier: GPL-2.0

//! What a callback on a cookie may do that nobody else may: tokens that only it is given.
//!
//! C header: [`include/linux/fscache-cache.h`](srctree/include/linux/fscache-cache.h)
//! (`fscache_cookie_lookup_negative()`, `fscache_resume_after_invalidation()`). fscache changes a
//! cookie's state from one worker at a time, and these functions set it without a look at what it
//! is: called from elsewhere they would undo a withdrawal, or end an access that is not there. A
//! token is for the time of the callback, as its lifetime says.

use crate::{cache::CachePrivate, Backend, Cookie};
use core::cell::Cell;
use kernel::sync::Arc;

/// Where a look-up puts the object that it found.
pub struct LookupSlot<'a, B: Backend> {
    cookie: &'a Cookie,
    cache: &'a CachePrivate<B>,
}

impl<'a, B: Backend> LookupSlot<'a, B> {
    #[inline]
    pub(crate) fn new(cookie: &'a Cookie, cache: &'a CachePrivate<B>) -> Self {
        Self { cookie, cache }
    }

    /// Attaches the object to the cookie, for all other operations on the cookie to find.
    #[inline]
    pub fn attach(self, object: Arc<B::Object>) -> Lookup<'a> {
        self.cache.attach();
        let object = Arc::into_raw(object);
        if !self.cookie.set_private(object.cast_mut().cast()) {
            let _leaving = self.cache.detach();
            // fscache looks a cookie up only when it has no object, so this is not to be reached.
            //
            // SAFETY: `object` came out of an `Arc`, and the cookie did not take it.
            drop(unsafe { Arc::from_raw(object) });
        }
        Lookup {
            cookie: self.cookie,
        }
    }
}

/// A look-up whose object is attached.
pub struct Lookup<'a> {
    cookie: &'a Cookie,
}

impl Lookup<'_> {
    /// Says that there is nothing to be found: readers need not wait any longer. Takes the cookie's
    /// spinlock.
    #[inline]
    pub fn negative(&self) {
        self.cookie.lookup_negative();
    }
}

/// An invalidation that is under way.
pub struct Invalidation<'a> {
    cookie: &'a Cookie,
    is_resumed: &'a Cell<bool>,
}

impl<'a> Invalidation<'a> {
    #[inline]
    pub(crate) fn new(cookie: &'a Cookie, is_resumed: &'a Cell<bool>) -> Self {
        Self { cookie, is_resumed }
    }

    /// Lets I/O go on: what was stored is out of reach. Takes the cookie's spinlock.
    #[inline]
    pub fn resume(self) {
        self.is_resumed.set(true);
        self.cookie.resume_after_invalidation();
    }
}
