# SPDX-License-Identifier: GPL-2.0
# what: what the daemon writes goes into the pages of a reader that is gone
# file: fs/cachefiles/cache/ondemand/windows.rs rust/kernel_ext/io/window.rs
# selftests: straight_read_of_a_killed_reader_leaves_its_pages_alone
s/listed\.get_mut\(self\.index\)\.and_then\(Option::take\)/listed.get_mut(self.index).and_then(|_| None::<Listed>)/
s/let memory = self\.0\.memory\.lock\(\)\.take\(\);\n        memory\.is_some_and/let memory = self.0.memory.lock();\n        memory.as_ref().is_some_and/
s/engine\.windows\.count\.fetch_sub\(1, Ordering::SeqCst\);/let _ = \&engine.windows.count;/
