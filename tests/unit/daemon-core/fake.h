/* SPDX-License-Identifier: Apache-2.0 */
/* A platform made of files in one directory (its URL), source and target at once, for tests of
 * the daemon alone.  What a call makes is a file named after its tag, so that it survives the
 * process and can be counted.  This file's registry takes the place of the product's.
 *
 *   disk-KEY              the machine's disks; "size-of" is the file's
 *   power                 "on" or "off": of the machine; no such file: the machine is gone
 *   blocked               a finding of the source that blocks
 *   snap-TAG-KEY          a snapshot's disk
 *   base-TAG              a baseline
 *   vol-TAG               a volume
 *   part-TAG-of-VTAG      what a round writes
 *   point-TAG-of-VTAG
 *   clone-TAG
 *   adoption-TAG          a disk that was adopted
 *   machine-TAG           holds "on" or "off"
 *   given-...             clones, adopted disks and machines handed over to the admin
 *   calls                 one line for each call that changes something
 */
#pragma once

#include "base/error.h"

#define FAKE_MACHINE "fake-machine-1"

/* Make the call of this name ("snapshot", "create_machine", ...) fail `count` times. */
void fake_fail(const char *call, enum bf_error_code code, int count);
/* As a target that knows no companion (bf_target_takes_companion()). */
void fake_without_companion(void);
/* What a launched machine says on its console; NULL: "BOOTMARK". */
extern const char *fake_console;
