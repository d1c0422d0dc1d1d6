/* SPDX-License-Identifier: GPL-2.0 */
/* Module parameters and the error injection sysctl; see params.c. */
#ifndef CFH_PARAMS_H
#define CFH_PARAMS_H

/* Read by Rust, and written by the command "debug"; each in one access. */
extern unsigned int cfh_debug;
/* Read by Rust. */
extern bool cfh_inherit_fds;
extern bool cfh_async_reads;
extern bool cfh_straight_reads;
extern unsigned int cfh_reopen_tries;
/* A day, in seconds; and what is never above it. */
#define CFH_MAX_LINGER 86400
extern unsigned int cfh_linger;
/* 16 MiB, in KiB. */
#define CFH_MAX_READAHEAD 16384
extern unsigned int cfh_readahead;
/* Stays 0 where the kernel is configured without it. */
extern unsigned int cfh_error_injection;

int cfh_register_error_injection(void);
void cfh_unregister_error_injection(void);

#endif
