/* SPDX-License-Identifier: GPL-2.0 */
/* What bindgen reads for the unit tests; bindgen_parameters says what it may make of it. */

#include <linux/fdtable.h>
#include <linux/fscache.h>
#include <linux/netfs.h>
#include "helpers.c"
