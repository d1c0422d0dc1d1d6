# SPDX-License-Identifier: GPL-2.0
# what: an OPEN whose copy failed is put back by its fd and by the read
# file: fs/cachefiles/ondemand/deliver.rs
# test: a_read_that_faults_gives_back
s/            payload\(object, delivery\.kind, fd\.fd\(\)\),\n            out,\n        \)\?;/            payload(object, delivery.kind, fd.fd()),\n            out,\n        );\n        let len = match len { Ok(len) => len, Err(error) => { drop(file); self.put_back(delivery); return Err(error); } };/
