# SPDX-License-Identifier: GPL-2.0
# what: of the blocks let go the daemon is told an eighth
# file: fs/cachefiles/backing/space.rs
# selftests: released_files
s/fetch_add\(inode\.blocks\(\)/fetch_add(inode.blocks() \/ 8/
