// SPDX-License-Identifier: GPL-2.0

//! On-demand mode: what is not in the cache is asked of the daemon as it is read.
//!
//! A read's way: `Engine::fetch` puts a READ into the table and waits; `Engine::read_message`
//! hands it to the daemon, which writes the data through the object's anonymous fd and completes
//! the READ by `Engine::cread`. When the daemon goes away with READs in its hands, the last close
//! of the fd (`Engine::fd_closed`) puts them back, and `reopen` asks the next daemon to open the
//! object again.
//!
//! - `state`, `entry`, `table`, `opening`, `time`, `reads_ahead`, `streams`, `filling`, `message`:
//!   the decisions and the format, without any kernel;
//! - `request`: a request and its slots in the xarray; `engine`: the table with its lock, waiting;
//! - `fetch`: having holes filled by READs;
//! - `deferral`: reads for which nobody waits; `ahead`: READs ahead of those who read in sequence,
//!   which `streams` recognises;
//! - `fetched`: the daemon's writes; `windows`: who gets a copy of them;
//! - `deliver`: the daemon's read; `answer`: `copen`, `cread`, `cfail`, `restore`;
//! - `hand_over`: from one daemon to the next, with all that is on its way;
//! - `anon_fd`: the fd of an object; `reopen`: opening objects again; `clock`: what time brings;
//! - `report`: how all of that stands, for debugfs.

mod ahead;
mod anon_fd;
mod answer;
mod clock;
mod deferral;
mod deferred;
mod deliver;
mod engine;
mod entry;
mod fetch;
mod fetched;
mod filling;
mod hand_over;
mod message;
mod missing;
mod opening;
mod reads_ahead;
pub(crate) mod reopen;
mod report;
mod request;
mod state;
mod streams;
mod table;
mod time;
mod windows;

/// Requests that are looked at for each time that the lock of the table is taken, where all have to
/// be.
const BATCH: usize = 64;

pub(crate) use anon_fd::{ObjectFd, SLAB as OBJECT_FDS};
pub(crate) use deferral::Deferral;
pub(crate) use deferred::Deferred;
pub(crate) use engine::Engine;
pub(crate) use missing::Missing;
pub(crate) use state::ObjectState;
pub(crate) use windows::ListedWindow;
