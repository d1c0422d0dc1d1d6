# SPDX-License-Identifier: GPL-2.0
# what: netfs is told that a write that failed in its completion is done
# file: fs/cachefiles/io/write.rs
# selftests: write_that_fails_late
s/if usize::try_from\(result\) == Ok\(len\) \{/if result < 0 {\n            len as isize\n        } else if usize::try_from(result) == Ok(len) {/
