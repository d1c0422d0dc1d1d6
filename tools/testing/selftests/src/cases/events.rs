// SPDX-License-Identifier: GPL-2.0
//! What each tracepoint looks like in `events/cachefiles/*/format`: name, fields, and the text that
//! is printed. Taken from the C module of 6.12.117 by reading its `format` files.

/// One tracepoint.
pub struct Event {
    /// Its name without the common prefix.
    pub name: &'static str,
    /// Type and name of its fields, in order.
    pub fields: &'static [&'static str],
    /// What it prints.
    pub text: &'static str,
}

/// All of them, in alphabetical order.
pub const EVENTS: &[Event] = &[
    Event {
        name: "coherency",
        fields: &[
            "unsigned int obj",
            "enum cachefiles_coherency_trace why",
            "enum cachefiles_content content",
            "u64 ino",
        ],
        text: "o=%08x %s B=%llx c=%u",
    },
    Event {
        name: "io_error",
        fields: &[
            "unsigned int obj",
            "unsigned int backer",
            "enum cachefiles_error_trace where",
            "short error",
        ],
        text: "o=%08x B=%x %s e=%d",
    },
    Event {
        name: "link",
        fields: &["unsigned int obj", "unsigned int backer"],
        text: "o=%08x B=%x",
    },
    Event {
        name: "lookup",
        fields: &[
            "unsigned int obj",
            "short error",
            "unsigned long dino",
            "unsigned long ino",
        ],
        text: "o=%08x dB=%lx B=%lx e=%d",
    },
    Event {
        name: "mark_active",
        fields: &["unsigned int obj", "ino_t inode"],
        text: "o=%08x B=%lx",
    },
    Event {
        name: "mark_failed",
        fields: &["unsigned int obj", "ino_t inode"],
        text: "o=%08x B=%lx",
    },
    Event {
        name: "mark_inactive",
        fields: &["unsigned int obj", "ino_t inode"],
        text: "o=%08x B=%lx",
    },
    Event {
        name: "mkdir",
        fields: &["unsigned int dir", "unsigned int subdir"],
        text: "dB=%x sB=%x",
    },
    Event {
        name: "ondemand_close",
        fields: &[
            "unsigned int obj",
            "unsigned int msg_id",
            "unsigned int object_id",
        ],
        text: "o=%08x mid=%x oid=%x",
    },
    Event {
        name: "ondemand_copen",
        fields: &["unsigned int obj", "unsigned int msg_id", "long len"],
        text: "o=%08x mid=%x l=%lx",
    },
    Event {
        name: "ondemand_cread",
        fields: &["unsigned int obj", "unsigned int msg_id"],
        text: "o=%08x mid=%x",
    },
    Event {
        name: "ondemand_fd_release",
        fields: &["unsigned int obj", "unsigned int object_id"],
        text: "o=%08x oid=%x",
    },
    Event {
        name: "ondemand_fd_write",
        fields: &[
            "unsigned int obj",
            "unsigned int backer",
            "loff_t start",
            "size_t len",
        ],
        text: "o=%08x iB=%x s=%llx l=%zx",
    },
    Event {
        name: "ondemand_open",
        fields: &[
            "unsigned int obj",
            "unsigned int msg_id",
            "unsigned int object_id",
            "unsigned int fd",
            "unsigned int flags",
        ],
        text: "o=%08x mid=%x oid=%x fd=%d f=%x",
    },
    Event {
        name: "ondemand_read",
        fields: &[
            "unsigned int obj",
            "unsigned int msg_id",
            "unsigned int object_id",
            "loff_t start",
            "size_t len",
        ],
        text: "o=%08x mid=%x oid=%x s=%llx l=%zx",
    },
    Event {
        name: "prep_read",
        fields: &[
            "unsigned int obj",
            "unsigned short flags",
            "enum netfs_io_source source",
            "enum cachefiles_prepare_read_trace why",
            "size_t len",
            "loff_t start",
            "unsigned int netfs_inode",
            "unsigned int cache_inode",
        ],
        text: "o=%08x %s %s f=%02x s=%llx %zx ni=%x B=%x",
    },
    Event {
        name: "read",
        fields: &[
            "unsigned int obj",
            "unsigned int backer",
            "size_t len",
            "loff_t start",
        ],
        text: "o=%08x B=%x s=%llx l=%zx",
    },
    Event {
        name: "ref",
        fields: &[
            "unsigned int obj",
            "unsigned int cookie",
            "enum cachefiles_obj_ref_trace why",
            "int usage",
        ],
        text: "c=%08x o=%08x u=%d %s",
    },
    Event {
        name: "rename",
        fields: &[
            "unsigned int obj",
            "unsigned int ino",
            "enum fscache_why_object_killed why",
        ],
        text: "o=%08x B=%x w=%s",
    },
    Event {
        name: "tmpfile",
        fields: &["unsigned int obj", "unsigned int backer"],
        text: "o=%08x B=%x",
    },
    Event {
        name: "trunc",
        fields: &[
            "unsigned int obj",
            "unsigned int backer",
            "enum cachefiles_trunc_trace why",
            "loff_t from",
            "loff_t to",
        ],
        text: "o=%08x B=%x %s l=%llx->%llx",
    },
    Event {
        name: "unlink",
        fields: &[
            "unsigned int obj",
            "unsigned int ino",
            "enum fscache_why_object_killed why",
        ],
        text: "o=%08x B=%x w=%s",
    },
    Event {
        name: "vfs_error",
        fields: &[
            "unsigned int obj",
            "unsigned int backer",
            "enum cachefiles_error_trace where",
            "short error",
        ],
        text: "o=%08x B=%x %s e=%d",
    },
    Event {
        name: "vol_coherency",
        fields: &[
            "unsigned int vol",
            "enum cachefiles_coherency_trace why",
            "u64 ino",
        ],
        text: "V=%08x %s B=%llx",
    },
    Event {
        name: "write",
        fields: &[
            "unsigned int obj",
            "unsigned int backer",
            "size_t len",
            "loff_t start",
        ],
        text: "o=%08x B=%x s=%llx l=%zx",
    },
];
