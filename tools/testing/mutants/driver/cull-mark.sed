# SPDX-License-Identifier: GPL-2.0
# what: a file that could not be culled can never be used again
# file: fs/cachefiles/device/cull.rs
# parity: failing_removals
s/let marked = InUse::mark_for_removal\(victim\)\.ok_or\(EBUSY\)\?;/let marked = core::mem::ManuallyDrop::new(InUse::mark_for_removal(victim).ok_or(EBUSY)?);/
s/    marked\.removed\(\);\n//
