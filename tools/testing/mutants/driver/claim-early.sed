# SPDX-License-Identifier: GPL-2.0
# what: the device is free before its cache is gone
# file: fs/cachefiles/cache/claim.rs
# file: fs/cachefiles/device.rs
# selftests: object_fd_pins
s/static CLAIMED: AtomicBool/pub(crate) static CLAIMED: AtomicBool/
s/        drop\(device\);/        crate::cache::claim::CLAIMED.store(false, core::sync::atomic::Ordering::Release);\n        drop(device);/
