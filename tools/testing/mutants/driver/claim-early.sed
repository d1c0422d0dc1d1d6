# SPDX-License-Identifier: GPL-2.0
# what: the device is free before its cache is gone
# file: fs/cachefiles/device.rs
# selftests: object_fd_pins
s/        drop\(device\);/        CLAIMED.store(false, Ordering::Release);\n        drop(device);/
