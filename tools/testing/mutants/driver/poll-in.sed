# SPDX-License-Identifier: GPL-2.0
# what: poll does not say that the state has changed
# file: fs/cachefiles/device.rs
# selftests: when_culling_becomes
s/(is_state_changed\(\) \{\n) *mask \|= poll::IN;/\1/
