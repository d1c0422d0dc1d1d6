// SPDX-License-Identifier: GPL-2.0
//! What is done where there is no data for a READ, or no room for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use cachefiles_protocol::{Errno, Read};
use tokio::task::spawn_blocking;

use super::engine::{Engine, Outcome};
use super::failure::{cause, is_corrupt};

impl Engine {
    /// Has the reader of a READ get an error.
    pub(super) fn fail(&self, read: &Read, error: &io::Error) {
        let answered = match self.device.cfail(read.msg_id, Errno::IO) {
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            // The C module: the kernel looks for the data once more, and finds none.
            Err(errno) => match self.object(read.object_id) {
                Some(object) => object.fd.complete_read(read.msg_id),
                None => Err(errno),
            },
        };
        match answered {
            // EINVAL: it is gone, its reader was killed.
            Ok(()) | Err(Errno::INVAL) => {
                self.stats.reads_failed.fetch_add(1, Relaxed);
                self.stats
                    .reads_corrupt
                    .fetch_add(is_corrupt(error).into(), Relaxed);
                let what = format!("giving up on a READ of {}", self.name(read.object_id));
                if self.told.first(&what, Instant::now()) {
                    let cause = cause(error);
                    tracing::error!(
                        off = read.off,
                        len = read.len,
                        "{what}, its reader gets EIO: {cause}"
                    );
                }
            }
            Err(errno) => {
                let what = format!("the kernel takes no answer to a READ ({errno})");
                if self.told.first(&what, Instant::now()) {
                    tracing::error!("{what}, its reader waits on: {}", cause(error));
                }
            }
        }
    }

    /// Has something culled that nobody uses, unless that is being done.
    pub(super) async fn make_room(self: &Arc<Self>) -> Outcome {
        let engine = Arc::clone(self);
        spawn_blocking(move || {
            if let Some(culler) = &engine.culler {
                culler.cull(&engine.device, &engine.stats);
            }
        })
        .await
    }
}
