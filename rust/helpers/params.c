// SPDX-License-Identifier: GPL-2.0
/*
 * The module's parameters and, where the kernel is configured for it, the
 * sysctl cachefiles/error_injection. All are tables of macros in C.
 */

#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sysctl.h>

#include "params.h"

/*
 * That of tools/Cargo.toml. The kernel's own module has none; the DKMS of
 * Debian 12 installs ours only where the versions differ.
 */
MODULE_VERSION("0.1.0");

unsigned int cfh_debug;
module_param_named(debug, cfh_debug, uint, 0644);
MODULE_PARM_DESC(debug, "CacheFiles debugging mask");

bool cfh_inherit_fds;
module_param_named(inherit_fds, cfh_inherit_fds, bool, 0644);
MODULE_PARM_DESC(inherit_fds,
		 "Objects' fds live over exec (default: N, close-on-exec)");

unsigned int cfh_reopen_tries = 3;
module_param_named(reopen_tries, cfh_reopen_tries, uint, 0644);
MODULE_PARM_DESC(reopen_tries,
		 "Refusals until the readers of an object get EIO (default: 3; 0: never)");

bool cfh_async_reads;
module_param_named(async_reads, cfh_async_reads, bool, 0644);
MODULE_PARM_DESC(async_reads,
		 "Readahead does not wait for the daemon (default: N)");

bool cfh_straight_reads;
module_param_named(straight_reads, cfh_straight_reads, bool, 0644);
MODULE_PARM_DESC(straight_reads,
		 "What the daemon writes is copied to the waiting reader (default: N)");

/*
 * EINVAL for all that is refused, as of the commands of the same name: also for
 * a number that no unsigned int holds.
 */
static int set_up_to(const char *value, const struct kernel_param *param,
		     unsigned int max)
{
	int ret = param_set_uint_minmax(value, param, 0, max);

	return ret == -ERANGE ? -EINVAL : ret;
}

unsigned int cfh_linger;

static int set_linger(const char *value, const struct kernel_param *param)
{
	return set_up_to(value, param, CFH_MAX_LINGER);
}

static const struct kernel_param_ops linger_ops = {
	.set = set_linger,
	.get = param_get_uint,
};

module_param_cb(linger, &linger_ops, &cfh_linger, 0644);
__MODULE_PARM_TYPE(linger, "uint");
MODULE_PARM_DESC(linger,
		 "Seconds for which an on-demand cache waits for its next daemon (default: 0)");

unsigned int cfh_readahead;

static int set_readahead(const char *value, const struct kernel_param *param)
{
	return set_up_to(value, param, CFH_MAX_READAHEAD);
}

static const struct kernel_param_ops readahead_ops = {
	.set = set_readahead,
	.get = param_get_uint,
};

module_param_cb(readahead, &readahead_ops, &cfh_readahead, 0644);
__MODULE_PARM_TYPE(readahead, "uint");
MODULE_PARM_DESC(readahead,
		 "KiB that the daemon is asked for ahead of sequential readers (default: 0)");

unsigned int cfh_error_injection;

#ifdef CONFIG_CACHEFILES_ERROR_INJECTION

static struct ctl_table_header *error_injection_header;
static struct ctl_table error_injection_table[] = {
	{
		.procname	= "error_injection",
		.data		= &cfh_error_injection,
		.maxlen		= sizeof(cfh_error_injection),
		.mode		= 0644,
		.proc_handler	= proc_douintvec,
	},
};

int cfh_register_error_injection(void)
{
	error_injection_header =
		register_sysctl("cachefiles", error_injection_table);
	return error_injection_header ? 0 : -ENOMEM;
}

void cfh_unregister_error_injection(void)
{
	unregister_sysctl_table(error_injection_header);
	error_injection_header = NULL;
}

#else

int cfh_register_error_injection(void)
{
	return 0;
}

void cfh_unregister_error_injection(void)
{
}

#endif
