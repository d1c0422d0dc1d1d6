# SPDX-License-Identifier: GPL-2.0
# what: what is left of the last block of a shortened file comes back
# file: fs/cachefiles/cache/object/resize.rs
# selftests: shortened
s/if new_size < dio_size \{/if false \&\& new_size < dio_size {/
