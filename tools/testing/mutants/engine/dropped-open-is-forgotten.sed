# SPDX-License-Identifier: GPL-2.0
# what: an OPEN whose fd was closed without an answer is never handed out again
# file: fs/cachefiles/cache/ondemand/opening.rs
# test: an_open_whose_fd_is_closed_without_an_answer
s/                    consequence\.clock = true;\n//
