// SPDX-License-Identifier: MIT
// The VMs' consoles on the machine's first serial port, for a machine without a control channel (a PC started by GRUB): on when
// there is no second serial port or the command line says console=com1. The control channel, where it answers, goes on as well.
#ifndef VMM_COM1_H
#define VMM_COM1_H

#include "base/types.h"
#include "machine/boot/boot_info.h"

struct vm;

// `vms`: one VM is shown raw, several prefixed `name| ` line by line. From now on only warnings of the log go to the port.
void com1_start(const struct boot_info *bi, unsigned vms);
void com1_console_out(const char *vm, const u8 *bytes, size_t n);
// Passes what was typed on to this VM.
void com1_poll(struct vm *vm);
// No VM runs any more: the log is shown again.
void com1_stop(void);

#endif
