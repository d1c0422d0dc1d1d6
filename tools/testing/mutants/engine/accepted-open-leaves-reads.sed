# SPDX-License-Identifier: GPL-2.0
# what: READs stay parked when their object is open again
# file: fs/cachefiles/ondemand/opening.rs
# test: two_readers_get_their_pages
# hostile: found
s/(entry::)?set_phase\(at, Phase::Ready\);\n                ready \+= 1;\n            \}\n        \}\);\n        Some/}\n        });\n        Some/
