# SPDX-License-Identifier: GPL-2.0
# what: a cache is there a while before it behaves as its daemon has said
# file: fs/cachefiles/device/bind.rs
# selftests: complete_image_needs_no_message_from_the_beginning
s/    cache\.behave\(&settings\.behaviour\);\n([^\n]*all::add[^\n]*\n[^\n]*fscache\.add[^\n]*\n[^\n]*\n)/\1    kernel_ext::task::sleep(300);\n    cache.behave(\&settings.behaviour);\n/
