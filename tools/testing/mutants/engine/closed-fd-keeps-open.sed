# SPDX-License-Identifier: GPL-2.0
# what: an OPEN that the dead daemon has stays with it
# file: fs/cachefiles/cache/ondemand/opening.rs
# test: a_daemon_that_dies_of_any_message
# hostile: found
s/Closer::Dies => \{\n                    entry::set_phase\(&mut at, Phase::Ready\);\n                    consequence\.ready = 1;\n                \}/Closer::Dies => {}/
