# SPDX-License-Identifier: GPL-2.0
# what: D20: data that ends inside the last page counts up to its end
# file: fs/cachefiles/io/first_part.rs
# selftests: is_not_read_as_zeros
s/if data_end >= i_size \{/if data_end > i_size - unit {/
