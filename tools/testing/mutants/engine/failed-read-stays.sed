# SPDX-License-Identifier: GPL-2.0
# what: a READ that the daemon fails is completed and stays in the table
# file: fs/cachefiles/cache/ondemand/answer.rs
# test: a_read_that_the_daemon_fails
s/        let node = Self::take\(&mut guard, &object, id\);\n        drop\(guard\);\n        let error/        let node: Option<Arc<super::request::RequestNode>> = guard.slots().0.at(id).map(|at| at.node().into());\n        drop(guard);\n        let error/
