# SPDX-License-Identifier: GPL-2.0
# what: D12: a name that root took away is removed again, and XFS shuts down
# file: fs/cachefiles/cache/object/commit.rs rust/kernel_ext/fs/dir.rs
# xfs: name_that_root_took_away
# because: Shutting down|beside the cache|Input.output error
s/let dentry = look_up_locked\(object, &locked, &name\)\?;\n    if !dentry/let dentry: ARef<Dentry> = file.dentry().into();\n    let _ = \&name;\n    if !dentry/
s/if child\.is_name_in\(self\.dentry\)/if child.is_child_of(self.dentry)/
