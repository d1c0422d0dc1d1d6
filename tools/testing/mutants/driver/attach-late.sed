# SPDX-License-Identifier: GPL-2.0
# what: what was set on a device is forgotten by `attach`
# file: fs/cachefiles/device.rs
# selftests: attach_comes_first
s/if config\.is_begun \|\|/if false \&\& config.is_begun ||/
