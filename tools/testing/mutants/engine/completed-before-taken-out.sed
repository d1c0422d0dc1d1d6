# SPDX-License-Identifier: GPL-2.0
# what: the READ is completed first and taken out of the table after
# file: fs/cachefiles/cache/ondemand/answer.rs
# test: nothing_is_lost_in_a_storm
# hostile: found
s/            let gap = Table::take_out_at\(&mut at, state\);\n            drop\(at\);\n            if let Some\(gap\) = gap \{\n                gap\.close\(slots\);\n            \}\n            slots\.remove\(id\)\n        \}\)\?;\n        let node = node\.ok_or\(EINVAL\)\?;/            Some(Arc::from(at.node()))\n        })?;\n        let node: Arc<super::request::RequestNode> = node.ok_or(EINVAL)?;\n        node.shared().complete(Ok(()));\n        let node = self.with(object, |slots, table, state| {\n            table.take_out(slots, state, id);\n            slots.remove(id)\n        })?.ok_or(EINVAL)?;/; s/(trace::ondemand_cread\(object\.debug_id\(\), id\);\n)        node\.shared\(\)\.complete\(Ok\(\(\)\)\);/\1        drop(node);/
