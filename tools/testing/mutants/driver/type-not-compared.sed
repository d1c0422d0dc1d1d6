# SPDX-License-Identifier: GPL-2.0
# what: a file of another type is believed
# file: fs/cachefiles/format/layout.rs
# model: layout
s/if kind != TYPE_DATA/if false \&\& kind != TYPE_DATA/
