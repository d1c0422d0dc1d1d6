# SPDX-License-Identifier: GPL-2.0
# what: a read that fails in its completion is an error of the reader, though the server has the data
# file: fs/cachefiles/cache/object/read.rs
# selftests: late
s/failure\.outcome\(note_error\(&object, file, result\)\)/note_error(\&object, file, result).to_errno() as isize/
