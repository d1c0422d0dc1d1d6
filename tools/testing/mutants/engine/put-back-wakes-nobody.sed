# SPDX-License-Identifier: GPL-2.0
# what: a request whose copy failed comes back and nobody is told
# file: fs/cachefiles/cache/ondemand/deliver.rs
# test: a_thread_that_faults_and_leaves
s/self\.notifier\.requests_ready\(1\);/let _ = ();/
