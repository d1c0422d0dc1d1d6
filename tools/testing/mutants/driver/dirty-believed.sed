# SPDX-License-Identifier: GPL-2.0
# what: a file that a crash left half written is believed
# file: fs/cachefiles/format/layout.rs
# model: layout
s/if content == Content::Dirty as u8/if false \&\& content == Content::Dirty as u8/
