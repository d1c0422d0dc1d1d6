# SPDX-License-Identifier: GPL-2.0
# what: who waits to make a directory on a frozen file system holds up all others of the volume
# file: fs/cachefiles/cache/volume.rs
# selftests: frozen_file_system_holds_up_only
s/        drop\(fanout\);\n(        let write = [^\n]*\n)        let mut fanout = self\.fanout\.lock\(\);\n/\1/
