# SPDX-License-Identifier: GPL-2.0
# what: fds that others have of a daemon before complete what the next one was handed
# file: fs/cachefiles/cache/ondemand/answer.rs
# selftests: linger_takes_no_answers
s/if state\.fd\(\) != Some\(fd\) \{/if state.fd() != Some(fd) \&\& state.is_leaving() {/
