// SPDX-License-Identifier: GPL-2.0

//! The driver's kernel-free files, compiled for the host so that they can be tested there.
//!
//! Nothing is copied: these are the very files that go into the module.

// The module's own users of these items are not here.
#![allow(dead_code)]

// By the name that it has in the module.
use driver::data;

#[path = "../../../../fs/cachefiles"]
mod driver {
    mod format {
        mod command;
        mod key;
        mod layout;
        mod limits;

        #[cfg(test)]
        #[path = "../../../tools/testing/host/unit/command.rs"]
        mod command_tests;
        #[cfg(test)]
        #[path = "../../../tools/testing/host/unit/key.rs"]
        mod key_tests;
        #[cfg(test)]
        #[path = "../../../tools/testing/host/unit/layout.rs"]
        mod layout_tests;
        #[cfg(test)]
        #[path = "../../../tools/testing/host/unit/limits.rs"]
        mod limits_tests;
    }

    pub(crate) mod data {
        pub(crate) mod extent;
        mod extent_cache;
        mod snapshot;

        #[cfg(test)]
        #[path = "../../../tools/testing/host/unit/extent_cache.rs"]
        mod extent_cache_tests;
        #[cfg(test)]
        #[path = "../../../tools/testing/host/unit/snapshot.rs"]
        mod snapshot_tests;
    }

    mod io {
        mod first_part;

        #[cfg(test)]
        #[path = "../../../tools/testing/host/unit/first_part.rs"]
        mod first_part_tests;
    }

    #[path = "cache/ondemand"]
    mod ondemand {
        mod entry;
        mod filling;
        mod message;
        mod opening;
        mod reads_ahead;
        mod state;
        mod streams;
        mod table;
        mod time;

        #[cfg(test)]
        #[path = "../../../../tools/testing/host/unit/filling.rs"]
        mod filling_tests;
        #[cfg(test)]
        #[path = "../../../../tools/testing/host/unit/map.rs"]
        mod map;
        #[cfg(test)]
        #[path = "../../../../tools/testing/host/unit/message.rs"]
        mod message_tests;
        #[cfg(test)]
        #[path = "../../../../tools/testing/host/unit/reads_ahead.rs"]
        mod reads_ahead_tests;
        #[cfg(test)]
        #[path = "../../../../tools/testing/host/unit/sequences.rs"]
        mod sequence_tests;
        #[cfg(test)]
        #[path = "../../../../tools/testing/host/unit/streams.rs"]
        mod streams_tests;
        #[cfg(test)]
        #[path = "../../../../tools/testing/host/unit/sweep.rs"]
        mod sweep_tests;
        #[cfg(test)]
        #[path = "../../../../tools/testing/host/unit/table.rs"]
        mod table_tests;
        #[cfg(test)]
        #[path = "../../../../tools/testing/host/unit/timeout.rs"]
        mod timeout_tests;
        #[cfg(test)]
        #[path = "../../../../tools/testing/host/unit/world.rs"]
        mod world;
    }
}
