# SPDX-License-Identifier: GPL-2.0
# what: a file that was there is not checked against the size that the daemon gives
# file: fs/cachefiles/cache/object/lookup.rs
# selftests: what_the_daemon_answers_late_is_checked
s/coherency::check_object\(object, &file\)/coherency::check_object(object, \&file).or_else(|error| if object.cache().ondemand().is_some() { Ok(()) } else { Err(error) })/
