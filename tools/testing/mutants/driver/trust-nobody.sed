# SPDX-License-Identifier: GPL-2.0
# what: no file of the on-demand mode has its name while it is in use
# file: fs/cachefiles/backing/trust.rs
# selftests: new_file_has
s/matches!\(self, Self::Trusted\)/matches!(self, Self::NotAsked)/
