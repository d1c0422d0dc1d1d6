# SPDX-License-Identifier: GPL-2.0
# what: a file that could not be culled can never be used again
# file: fs/cachefiles/cull.rs
# parity: failing_removals
s/        inode\.lock\(\)\.clear_kernel_file\(\);\n//
