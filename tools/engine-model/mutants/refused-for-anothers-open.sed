# SPDX-License-Identifier: GPL-2.0
# what: the reopen work takes another one's OPEN for a refusal
# file: fs/cachefiles/ondemand/reopen.rs
# test: an_opener_and_a_reopen
s/is_wanted\(state\)\.then/true.then/
