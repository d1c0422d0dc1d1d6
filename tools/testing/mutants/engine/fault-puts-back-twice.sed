# SPDX-License-Identifier: GPL-2.0
# what: an OPEN whose copy failed is put back by its fd and by the read
# file: fs/cachefiles/cache/ondemand/deliver.rs
# test: a_read_that_faults_gives_back
s/            \.inspect_err\(\|_\| self\.take_back\(object, id, object_id\)\)\?;/            .inspect_err(|_| { self.take_back(object, id, object_id); self.put_back(id) })?;/
