# SPDX-License-Identifier: GPL-2.0
# what: anybody may be the daemon
# file: fs/cachefiles/device.rs
# selftests: cap_sys_admin
s/if !kernel_ext::cred::capable_sys_admin\(\)/if false \&\& !kernel_ext::cred::capable_sys_admin()/
