// SPDX-License-Identifier: MIT
// check=1 on the hypervisor's command line: proves at each VM's end and at the machine's that nothing a guest did has changed
// what it must not: the hypervisor's own text and constants, the gate's pages that ring 1 may read, the shadow tables, the
// number of free frames. A difference panics; agreement is logged, so that a test can tell that it was looked for.
#ifndef VMM_INTEGRITY_H
#define VMM_INTEGRITY_H

struct vm;

void integrity_start(void);           // before the first VM is made
void integrity_vm(struct vm *vm);     // the VM has ended, its memory is still there
void integrity_end(unsigned records); // all are gone; so many frames are kept for their statistics

#endif
