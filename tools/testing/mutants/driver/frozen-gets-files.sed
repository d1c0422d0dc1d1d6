# SPDX-License-Identifier: GPL-2.0
# what: D24: files are made on a frozen file system, of which a snapshot is made
# file: rust/kernel_ext/fs/file.rs
# selftests: frozen_file_system_gets_no_files
s/        let _write = dir\.mount\(\)\.want_write\(\)\?;\n//
