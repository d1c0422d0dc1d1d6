// SPDX-License-Identifier: GPL-2.0

//! Tokens for functions that only a callback on a cookie may call.
//!
//! C header: [`include/linux/fscache-cache.h`](srctree/include/linux/fscache-cache.h)
//! (`fscache_cookie_lookup_negative()`, `fscache_resume_after_invalidation()`). fscache changes the
//! state of a cookie from one worker at a time, and these functions overwrite it unconditionally:
//! called from elsewhere they would undo a withdrawal, or end an access that does not exist. A
//! token is valid during the callback, as its lifetime says.

use crate::{cache::CachePrivate, Backend, Cookie};
use core::cell::Cell;
use kernel::sync::Arc;

/// The slot in which a look-up stores the object that it found.
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
    /// Reports that there is no data, so that readers need not wait any longer. Takes the spinlock
    /// of the cookie.
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

    /// Resumes I/O, as the stale data is out of reach. Takes the spinlock of the cookie.
    #[inline]
    pub fn resume(self) {
        self.is_resumed.set(true);
        self.cookie.resume_after_invalidation();
    }
}
