# SPDX-License-Identifier: GPL-2.0
# what: an OPEN is handed out again while its object is being dropped
# file: fs/cachefiles/cache/ondemand/state.rs
# test: an_object_is_dropped_while_its_daemon_dies
s/        self\.flags \|= LEAVING;\n//
