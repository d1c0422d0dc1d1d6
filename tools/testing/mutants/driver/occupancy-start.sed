# SPDX-License-Identifier: GPL-2.0
# what: of what is there the start is told before it
# file: fs/cachefiles/io/prepare_read.rs
# kunit: cachefiles_driver
s/round_up\(data, granularity\)\.ok_or\(ENODATA\)/Ok::<i64, Error>(round_down(data, granularity))/
