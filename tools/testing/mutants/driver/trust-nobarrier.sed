# SPDX-License-Identifier: GPL-2.0
# what: a file system without barriers is trusted with a part of a file
# file: fs/cachefiles/backing/trust.rs
# selftests: named_late
s/options\.has\(b"nobarrier"\)/options.has(b"no-such-option")/
