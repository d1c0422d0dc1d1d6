# SPDX-License-Identifier: GPL-2.0
# what: an object is opened again for READs ahead that nobody waits for
# file: fs/cachefiles/cache/ondemand/opening.rs
# selftests: crash_with_reads_ahead_alone
s/consequence\.forget = Self::has_unawaited_only\(slots, object\);/consequence.forget = Self::has_unawaited_only(slots, object) \&\& self.dead;/
