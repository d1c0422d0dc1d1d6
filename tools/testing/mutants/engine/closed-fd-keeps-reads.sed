# SPDX-License-Identifier: GPL-2.0
# what: a READ that the dead daemon has stays with it, and is taken for one that the next has
# file: fs/cachefiles/cache/ondemand/opening.rs
# test: a_daemon_that_dies_of_any_message
# hostile: found
s/ && entry\.note == fd\.get\(\)//
s/None => entry::set_phase\(&mut at, Phase::Parked\)/None if entry.phase == Phase::Ready => entry::set_phase(\&mut at, Phase::Parked),\n                None => {}/
