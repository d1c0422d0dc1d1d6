# SPDX-License-Identifier: GPL-2.0
# what: an OPEN whose fd was closed goes to another thread before it is answered
# file: fs/cachefiles/cache/ondemand/answer.rs
# test: an_open_that_one_thread_refuses
s/if kernel_ext::task::is_living\(\) \{\n            Closer::Lives\(super::clock::grain\(\)\)/if false {\n            Closer::Lives(super::clock::grain())/
