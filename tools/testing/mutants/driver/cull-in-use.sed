# SPDX-License-Identifier: GPL-2.0
# what: a file in use is culled
# file: fs/cachefiles/device/cull.rs
# selftests: file_in_use_is_not_culled
s/        Some\(inode\) if inode\.is_kernel_file\(\) => Err\(EBUSY\),\n//; s/if !mark_in_use_quietly\(inode\)/if !mark_in_use_quietly(inode) \&\& false/
