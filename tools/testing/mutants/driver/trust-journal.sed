# SPDX-License-Identifier: GPL-2.0
# what: an ext4 without a journal is trusted with a part of a file
# file: fs/cachefiles/backing/trust.rs
# selftests: named_late
s/Ok\(journal\) if !journal\.is_internal => /Ok(journal) if !journal.is_internal \&\& !journal.has_extents => /
