# SPDX-License-Identifier: GPL-2.0
# what: a reader gets bytes of a write in another place than they were written to
# file: fs/cachefiles/cache/ondemand/filling.rs
# selftests: straight_read_that_is_written_twice_is_what_the_file_has
s/ \|\| from != next \{/ {/
