// SPDX-License-Identifier: GPL-2.0
//! The parity suite: probes of the interface of `cachefiles.ko`, their records, and the comparison
//! of two records with each other, with the documented contract, and with the list of intended
//! differences.

pub mod compare;
pub mod document;
pub mod intended;
pub mod net;
pub mod observe;
pub mod probe;
pub mod probes;
pub mod record;
pub mod table;
pub mod trace;
pub mod world;
