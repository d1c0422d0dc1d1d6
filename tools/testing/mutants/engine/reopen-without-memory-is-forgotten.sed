# SPDX-License-Identifier: GPL-2.0
# what: a reopen for which there was no memory is not tried again
# file: fs/cachefiles/cache/ondemand/reopen.rs
# test: a_worker_out_of_memory
s/                            Self::start_clock_of\(object, table\);\n//
