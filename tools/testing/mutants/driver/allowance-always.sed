# SPDX-License-Identifier: GPL-2.0
# what: room is granted to the daemon that is not there, however little is left
# file: fs/cachefiles/backing/space.rs
# selftests: granted
s/        if files_left < file_limits\.cull/        if purpose == Purpose::Fetched {\n            self.allowance.grant(blocks_left);\n        }\n&/
