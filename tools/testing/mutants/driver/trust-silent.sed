# SPDX-License-Identifier: GPL-2.0
# what: nobody is told whether the file system is trusted
# file: fs/cachefiles/device/bind.rs
# selftests: bind_says
s/    cache\.backing\.tell_trust\(cache\.fscache\.name\(\)\);\n//
