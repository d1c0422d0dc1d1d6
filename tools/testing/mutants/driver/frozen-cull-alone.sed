# SPDX-License-Identifier: GPL-2.0
# what: while a cull waits for a frozen file system, all other commands wait for it
# file: fs/cachefiles/device.rs
# selftests: frozen_file_system_holds_up_no
s/(                )(return cull::cull\()/\1let _config = self.config.lock();\n\1\2/
