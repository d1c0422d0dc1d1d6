// SPDX-License-Identifier: GPL-2.0

//! Who does what to the engine, and what must come of it.

mod ahead;
mod batches;
mod bounded;
mod daemon;
mod deferred;
mod explore;
mod failover;
mod going_away;
mod late;
mod looking_up;
mod serving;
mod storm;
mod straight;
mod world;
