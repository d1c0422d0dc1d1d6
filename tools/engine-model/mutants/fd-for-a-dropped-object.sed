# SPDX-License-Identifier: GPL-2.0
# what: an OPEN is handed out though its object was dropped
# file: fs/cachefiles/ondemand/table.rs
# test: an_object_is_dropped_while_it_is_opened
s/        wanted\n    \}/        true\n    }/
