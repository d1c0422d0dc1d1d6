# SPDX-License-Identifier: GPL-2.0
# what: directories in the graveyard stay in use, so that the daemon cannot remove them
# file: fs/cachefiles/cache/grave.rs
# selftests: idle_volume_goes volume_with_another
s/        lock\.clear_kernel_file\(victim\);\n//
