// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin for QEMU's emulation: how often each block of the kernel's code is run between two calls
 * of one function of the kernel, which the guest calls to mark the begin and the end of what it
 * measures.
 *
 *   -plugin count.so,mark=ADDRESS,out=FILE
 *
 * At each mark the file gets a line `mark N`, and before it one line for each block that was run
 * since the mark before: its address, its number of instructions, and how often it was begun
 * (hexadecimal, decimal, decimal).
 *
 * Only calls that all versions of the interface have are used, so that no header of QEMU's is
 * needed. What has to be given when it is built is API, the version: QEMU 7 and 8 take 0 and 1,
 * later ones 2 and more.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* Of QEMU: the few things that this needs. */
struct qemu_plugin_tb;
typedef void (*translated)(uint64_t id, struct qemu_plugin_tb *block);
typedef void (*executed)(unsigned int cpu, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated call);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, executed call, int flags,
					  void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
enum { NO_REGISTERS = 0 };

/* Where the kernel's text begins. */
#define KERNEL UINT64_C(0xffffffff80000000)
#define BUCKETS (1u << 16)

struct block {
	uint64_t address;
	uint64_t instructions;
	uint64_t count;
	struct block *next;
};

/* One processor only, so that nothing here needs a lock. */
static struct block *buckets[BUCKETS];
static uint64_t mark_address;
static unsigned int marks;
static FILE *out;

static struct block *find_block(uint64_t address, uint64_t instructions)
{
	uint64_t hash = address ^ (address >> 16) ^ (instructions << 8);
	struct block **bucket = &buckets[hash % BUCKETS];
	struct block *block;

	for (block = *bucket; block; block = block->next) {
		if (block->address == address && block->instructions == instructions)
			return block;
	}
	block = calloc(1, sizeof(*block));
	if (!block)
		abort();
	block->address = address;
	block->instructions = instructions;
	block->next = *bucket;
	*bucket = block;
	return block;
}

static void count_block(unsigned int cpu, void *data)
{
	struct block *block = data;

	(void)cpu;
	block->count++;
}

static void reach_mark(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	for (unsigned int bucket = 0; bucket < BUCKETS; bucket++) {
		for (struct block *block = buckets[bucket]; block; block = block->next) {
			if (block->count) {
				fprintf(out, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n",
					block->address, block->instructions, block->count);
			}
			block->count = 0;
		}
	}
	fprintf(out, "mark %u\n", marks++);
	fflush(out);
}

static void translate(uint64_t id, struct qemu_plugin_tb *block)
{
	uint64_t address = qemu_plugin_tb_vaddr(block);

	(void)id;
	if (address < KERNEL)
		return;
	if (address == mark_address)
		qemu_plugin_register_vcpu_tb_exec_cb(block, reach_mark, NO_REGISTERS, NULL);
	qemu_plugin_register_vcpu_tb_exec_cb(block, count_block, NO_REGISTERS,
					     find_block(address, qemu_plugin_tb_n_insns(block)));
}

EXPORT int qemu_plugin_version = API;
EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv);

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	const char *path = NULL;

	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "mark=", 5))
			mark_address = strtoull(argv[i] + 5, NULL, 16);
		else if (!strncmp(argv[i], "out=", 4))
			path = argv[i] + 4;
	}
	/* Without arguments it is only tried whether it loads. */
	out = fopen(path ? path : "/dev/null", "w");
	if (!out)
		return 1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	return 0;
}
