# SPDX-License-Identifier: GPL-2.0
# what: what nobody needs yet is asked for where room is short
# file: fs/cachefiles/cache/ondemand/ahead.rs
# selftests: readahead_takes_no_room
s/if object\.cache\(\)\.has_room_ahead\(self\.readahead\.limit\(\)\) \{/if object.cache().has_room_ahead(0) || ahead.end > ahead.start {/
