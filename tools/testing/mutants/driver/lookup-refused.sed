# SPDX-License-Identifier: GPL-2.0
# what: an object that the daemon refuses is taken for one that it accepts
# file: fs/cachefiles/cache/object/lookup.rs
# selftests: mount_of_a_refused_object_fails
s/Err\(error\) => \{\n\s*drop\(candidate\);\n\s*Err\(error\)\n\s*\}/Err(_) => finish(object, candidate, || ()),/
