# SPDX-License-Identifier: GPL-2.0
# what: restore brings READs back and tells nobody
# file: fs/cachefiles/cache/ondemand/answer.rs
# test: restore_wakes_who_sleeps
s/            \}\);\n        \}\n        self\.notifier\.wake_all\(\);/            });\n        }/
