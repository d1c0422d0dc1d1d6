# SPDX-License-Identifier: GPL-2.0
# what: the close of the device fails the readers of a cache that lingers
# file: fs/cachefiles/device.rs
# selftests: linger_hands
s/if !linger::begin\(pin\) \{/let _ = linger::begin(pin);\n            {/
