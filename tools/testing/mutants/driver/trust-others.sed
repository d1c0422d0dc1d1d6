# SPDX-License-Identifier: GPL-2.0
# what: a file system that nobody has looked at is trusted with a part of a file
# file: fs/cachefiles/backing/trust.rs
# selftests: named_late
s/return Some\("is none of ext4, XFS and btrfs"\)/return None/
