# SPDX-License-Identifier: GPL-2.0
# what: directories in the graveyard stay in use, so that the daemon cannot remove them
# file: fs/cachefiles/grave.rs
# selftests: idle_volume_goes volume_with_another
s/        clear_in_use\(object_id, inode\);\n        return Ok/        return Ok/
