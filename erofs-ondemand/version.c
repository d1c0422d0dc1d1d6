// SPDX-License-Identifier: GPL-2.0
/*
 * A version, which the kernel's own erofs.ko does not have: the DKMS of Debian
 * 12 installs a module only where the versions differ.
 */

#include <linux/module.h>

MODULE_VERSION("ondemand");
