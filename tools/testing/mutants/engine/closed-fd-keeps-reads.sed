# SPDX-License-Identifier: GPL-2.0
# what: a READ that the dead daemon has stays with it
# file: fs/cachefiles/ondemand/opening.rs
# test: a_daemon_that_dies_of_any_message
# hostile: found
s/reads = true;\n                    (entry::)?set_phase\(at, Phase::Parked\);/if entry.phase == Phase::Ready { reads = true; entry::set_phase(at, Phase::Parked); }/
