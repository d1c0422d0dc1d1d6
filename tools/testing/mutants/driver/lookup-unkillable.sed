# SPDX-License-Identifier: GPL-2.0
# what: a mount waits for the answer to its OPEN in the worker that looks it up
# file: fs/cachefiles/cache/object/lookup.rs
# selftests: mount_whose_open_is_not_read_can_be_killed
s/return engine\.open\(object\)\.inspect_err\(\|_\| \{\n\s*drop\(object\.lookup\.abandon\(\)\);\n\s*\}\);/engine.open(object)?; while object.lookup.take().is_none() { kernel_ext::task::sleep(1); } return Ok(());/
