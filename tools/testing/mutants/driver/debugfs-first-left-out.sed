# SPDX-License-Identifier: GPL-2.0
# what: the first thing of a list is not shown
# file: rust/kernel_ext/debugfs.rs
# selftests: request_in_flight_is_shown
s/T::next\(from - 1, line\)/T::next(from, line)/
