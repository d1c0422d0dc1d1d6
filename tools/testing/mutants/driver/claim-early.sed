# SPDX-License-Identifier: GPL-2.0
# what: the device is free before its cache is gone
# file: fs/cachefiles/cache/claim.rs
# file: fs/cachefiles/device.rs
# selftests: object_fd_pins
s/static HOLDERS: AtomicU32/pub(crate) static HOLDERS: AtomicU32/
s/        drop\(device\);/        crate::cache::claim::HOLDERS.store(0, core::sync::atomic::Ordering::Release);\n        drop(device);/
