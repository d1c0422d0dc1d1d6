# SPDX-License-Identifier: GPL-2.0
# what: restore gives an OPEN that is on its way to one thread to another
# file: fs/cachefiles/cache/ondemand/table.rs
# file: fs/cachefiles/cache/ondemand/opening.rs
# test: restore_beside_two_threads_hands_no_open_to_both
s/entry\.phase == Phase::Taken \|\| \(entry\.kind/(entry.kind/
s/\|mut at\| at\.entry\(\)\.phase == Phase::Taken\)/|mut at| matches!(at.entry().phase, Phase::Taken | Phase::Delivered))/
