# SPDX-License-Identifier: GPL-2.0
# what: room that was granted once is taken for there for ever
# file: fs/cachefiles/backing/space.rs
# selftests: granted
s/self\.granted\.load\(Ordering::Acquire\) == kernel_ext::task::jiffies\(\)/self.granted.load(Ordering::Acquire) <= kernel_ext::task::jiffies()/
