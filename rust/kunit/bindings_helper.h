/* SPDX-License-Identifier: GPL-2.0 */
/* The headers that bindgen reads for the unit tests; bindgen_parameters selects from them. */

#include <linux/fdtable.h>
#include <linux/fscache.h>
#include <linux/netfs.h>
#include "helpers.c"
