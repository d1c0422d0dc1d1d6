# SPDX-License-Identifier: GPL-2.0
# what: a mark that another has already is taken away by who fails to get it
# file: fs/cachefiles/backing/in_use.rs
# selftests: file_that_another_object_uses_is_not_shared
s/if !is_ours \{\s+return None;\s+\}\s+Some\(Self (\{\s+held,\s+traced,\s+owns_mark: true,\s+\})\)/is_ours.then_some(Self \1)/
