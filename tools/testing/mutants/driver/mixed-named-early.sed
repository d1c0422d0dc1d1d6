# SPDX-License-Identifier: GPL-2.0
# what: a network file in a cache of both modes has its name while it is written to
# file: fs/cachefiles/cache/object/create.rs
# selftests: network_file_and_image_are_cached_side_by_side_with_mixed
s/if object\.is_ondemand\(\) && object\.cache/if object.cache/
