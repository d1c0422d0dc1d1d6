# SPDX-License-Identifier: GPL-2.0
# what: an operation begins before the look-up of its object has ended
# file: fs/cachefiles/io.rs
# selftests: what_the_daemon_answers_late_is_checked
s/if let Err\(error\) = object\.lookup\.wait\(\) \{/if let Err(error) = Ok::<(), kernel::error::Error>(()) {/
