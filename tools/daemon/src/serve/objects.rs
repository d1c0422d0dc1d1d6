// SPDX-License-Identifier: GPL-2.0
//! The objects that are open, by the numbers that the kernel gave them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::object::Object;

/// The objects that are open.
#[derive(Default)]
pub struct Objects(RwLock<HashMap<u32, Arc<Object>>>);

impl Objects {
    /// The object of a number.
    pub fn get(&self, object_id: u32) -> Option<Arc<Object>> {
        let objects = self.0.read().unwrap_or_else(PoisonError::into_inner);
        objects.get(&object_id).cloned()
    }

    /// Keeps an object, in place of one of that number.
    pub fn insert(&self, object_id: u32, object: &Arc<Object>) {
        let mut objects = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let old = objects.insert(object_id, Arc::clone(object));
        drop(objects);
        drop(old);
    }

    /// Gives up an object. Its fd is closed after the lock is released: closing it makes the kernel
    /// look for requests.
    pub fn remove(&self, object_id: u32) -> Option<Arc<Object>> {
        let mut objects = self.0.write().unwrap_or_else(PoisonError::into_inner);
        objects.remove(&object_id)
    }
}
