# SPDX-License-Identifier: GPL-2.0
# what: an OPEN whose copy failed is put back by its fd and by the read
# file: fs/cachefiles/ondemand/deliver.rs
# test: a_read_that_faults_gives_back
s/(let len = write_message\(id, object_id\.get\(\), open_payload\(object, fd\.fd\(\)\), out\))\?;/\1;\n        let len = match len { Ok(len) => len, Err(error) => { drop(file); self.put_back(id); return Err(error); } };/
