# SPDX-License-Identifier: GPL-2.0
# what: a file in use is said not to be
# file: fs/cachefiles/device/cull.rs
# selftests: file_in_use_is_not_culled
s/        Some\(inode\) if inode\.is_kernel_file\(\) => Err\(EBUSY\),\n//
