# SPDX-License-Identifier: GPL-2.0
# what: the attribute of a volume may have any length
# file: fs/cachefiles/cache/coherency.rs
# selftests: volume_with_another_attribute
s/Ok\(len\) if len != expected => \(Coherency::VolCheckXattr/Ok(len) if false \&\& len != expected => (Coherency::VolCheckXattr/
