# SPDX-License-Identifier: GPL-2.0
# what: a READ that was sent ahead is not told from one that somebody waits for
# file: fs/cachefiles/cache/ondemand/report.rs
# selftests: read_ahead_is_shown
s/if is_ahead => \("AHEAD"/if is_ahead => ("READ"/
