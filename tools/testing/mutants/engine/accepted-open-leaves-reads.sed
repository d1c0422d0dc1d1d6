# SPDX-License-Identifier: GPL-2.0
# what: READs stay parked when their object is open again
# file: fs/cachefiles/cache/ondemand/opening.rs
# test: two_readers_get_their_pages
# hostile: found
s/Some\(_\) => \{\n                    entry::set_phase\(&mut at, Phase::Ready\);\n                    swept\.ready \+= 1;\n                \}/Some(_) => {}/
