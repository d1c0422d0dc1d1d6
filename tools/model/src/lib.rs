// SPDX-License-Identifier: GPL-2.0

//! The driver's kernel-free files, compiled for the host so that they can be tested there.
//!
//! Nothing is copied: these are the very files that go into the module.

// The module's own users of these items are not here.
#![allow(dead_code)]

#[path = "../../../fs/cachefiles"]
mod driver {
    mod command;
    mod extent;
    mod glance;
    mod key;
    mod layout;
    mod limits;
    mod ondemand {
        mod entry;
        mod message;
        mod state;
        mod table;
        mod time;

        #[cfg(test)]
        #[path = "../../../tools/model/src/tests/map.rs"]
        mod map;
        #[cfg(test)]
        #[path = "../../../tools/model/src/tests/message.rs"]
        mod message_tests;
        #[cfg(test)]
        #[path = "../../../tools/model/src/tests/sequences.rs"]
        mod sequence_tests;
        #[cfg(test)]
        #[path = "../../../tools/model/src/tests/table.rs"]
        mod table_tests;
        #[cfg(test)]
        #[path = "../../../tools/model/src/tests/timeout.rs"]
        mod timeout_tests;
        #[cfg(test)]
        #[path = "../../../tools/model/src/tests/world.rs"]
        mod world;
    }

    #[cfg(test)]
    #[path = "../../tools/model/src/tests/command.rs"]
    mod command_tests;
    #[cfg(test)]
    #[path = "../../tools/model/src/tests/extent.rs"]
    mod extent_tests;
    #[cfg(test)]
    #[path = "../../tools/model/src/tests/glance.rs"]
    mod glance_tests;
    #[cfg(test)]
    #[path = "../../tools/model/src/tests/key.rs"]
    mod key_tests;
    #[cfg(test)]
    #[path = "../../tools/model/src/tests/layout.rs"]
    mod layout_tests;
    #[cfg(test)]
    #[path = "../../tools/model/src/tests/limits.rs"]
    mod limits_tests;
}
