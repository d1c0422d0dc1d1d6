# SPDX-License-Identifier: GPL-2.0
# what: a mount waits for the answer to its OPEN in the worker that looks it up
# file: fs/cachefiles/cache/object/lookup.rs
# selftests: mount_whose_open_is_not_read_can_be_killed
s/return asked\.and_then\(\|\(\)\| engine\.open\(object\)\)\.inspect_err\(\|_\| \{\n[^\n]*\n[^\n]*\n\s*\}\);/asked.and_then(|()| engine.open(object))?; while object.is_being_looked_up() { kernel_ext::task::sleep(1); } return Ok(());/
