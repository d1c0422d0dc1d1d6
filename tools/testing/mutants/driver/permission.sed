# SPDX-License-Identifier: GPL-2.0
# what: anybody may be the daemon
# file: fs/cachefiles/device.rs
# selftests: cap_sys_admin
s/if !kext::cred::capable_sys_admin\(\)/if false \&\& !kext::cred::capable_sys_admin()/
