// SPDX-License-Identifier: MIT
// The gate's text: the only ring-0 code that a guest's address space contains. It is copied to GATE_TEXT of every vCPU, so
// that all references go through its own start: DATA(x) below is an address in the gate's slot, reached RIP-relative.
//
// Rules (docs/design/gate.md): never dereference a guest address (for paravirtual guests: gate_pv.inc); trust nothing read from the writable pages but what
// was written since ring 1 last ran; CLD first on every path that reaches C; no CR3 write but the two world switches.
#include "base/gate.h"
#include "machine/gate/gate_offsets.h"

#define AT(addr) gate_text_start + ((addr) - GATE_TEXT)
#define VCPU(off) AT(GATE_VCPU + (off))(%rip)
#define TRUST(off) AT(GATE_TRUST + (off))(%rip)

	.section .rodata.gate, "a", @progbits
	.balign 4096
	.globl gate_text_start
	.hidden gate_text_start
gate_text_start:

// One stub per vector, 16 bytes each. Stack afterwards: vector, error, RIP, CS, RFLAGS, RSP, SS.
	.set vector, 0
	.rept 256
	.balign 16
	.if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17)
	.else
	pushq $0
	.endif
	.byte 0x68
	.long vector
	.byte 0xe9
	.long gate_trap - . - 4
	.set vector, vector + 1
	.endr

	.macro save_gprs
	mov %rax, VCPU(VP_GPR + 0 * 8)
	mov %rcx, VCPU(VP_GPR + 1 * 8)
	mov %rdx, VCPU(VP_GPR + 2 * 8)
	mov %rbx, VCPU(VP_GPR + 3 * 8)
	mov %rbp, VCPU(VP_GPR + 5 * 8)
	mov %rsi, VCPU(VP_GPR + 6 * 8)
	mov %rdi, VCPU(VP_GPR + 7 * 8)
	mov %r8, VCPU(VP_GPR + 8 * 8)
	mov %r9, VCPU(VP_GPR + 9 * 8)
	mov %r10, VCPU(VP_GPR + 10 * 8)
	mov %r11, VCPU(VP_GPR + 11 * 8)
	mov %r12, VCPU(VP_GPR + 12 * 8)
	mov %r13, VCPU(VP_GPR + 13 * 8)
	mov %r14, VCPU(VP_GPR + 14 * 8)
	mov %r15, VCPU(VP_GPR + 15 * 8)
	.endm

	// To the hypervisor world: its CR3, its stack, its code; all three from the read-only page. RCX: the root left.
	.macro to_hypervisor
	mov %cr3, %rcx
	mov TRUST(GT_HV_CR3), %rax
	mov %rax, %cr3
	mov TRUST(GT_HV_STACK), %rsp
	jmp *TRUST(GT_HV_ENTRY)
	.endm

	.balign 16
gate_trap:
	cld
	testb $3, 24(%rsp)
	jz gate_trap_ring0
gate_trap_guest:
	save_gprs
	popq VCPU(VP_VECTOR)
	popq VCPU(VP_ERROR)
	popq VCPU(VP_RIP)
	popq VCPU(VP_CS)
	popq VCPU(VP_RFLAGS)
	popq VCPU(VP_RSP)
	popq VCPU(VP_SS)
	mov %cr2, %rax
	mov %rax, VCPU(VP_CR2)
	to_hypervisor

// A page fault. From ring 3 it is the guest's own on a not-present marker (reserved bit: RSVD in the error code; P, which QEMU's TCG
// leaves out, is not looked at), and for a store to a present page whose entry in the window says that the guest has it read-only:
// ring 1 gets the frame to push (gate_reflect). The window's address cannot fault: by P the tables above the entry are there. All
// else leaves, as does the same address too often running, whatever the reason.
	.balign 16
	.globl gate_page_fault
	.hidden gate_page_fault
gate_page_fault:
	pushq $14
	testb $2, 24(%rsp)
	jz gate_trap
	cmpq $0, TRUST(GT_REFLECT_HANDLER)
	je gate_trap
	mov %rax, VCPU(VP_SCRATCH)
	mov %cr2, %rax
	testb $8, 8(%rsp)
	jnz gate_page_fault_own
	cmpl $7, 8(%rsp) // P, W, U
	jne gate_page_fault_leave
	test %rax, %rax
	js gate_page_fault_leave
	shr $12, %rax
	shl $3, %rax
	add gate_window(%rip), %rax
	testl $WINDOW_READ_ONLY, (%rax)
	jz gate_page_fault_leave
	mov %cr2, %rax
gate_page_fault_own:
	cmp %rax, VCPU(VP_MARKER_CR2)
	je gate_page_fault_again
	mov %rax, VCPU(VP_MARKER_CR2)
	movq $REFLECT_PATIENCE, VCPU(VP_MARKER_LEFT)
gate_page_fault_reflect:
	mov %rax, VCPU(VP_GUEST_CR2)
	add $8, %rsp
	pop %rax
	btr $3, %eax
	jnc 1f
	and $~1, %eax
1:	and $0x17, %eax
	mov %rax, VCPU(VP_REFLECT)
	mov TRUST(GT_SYSCALL_CS), %eax // the handler's, as reflect.c made sure; SS null
	mov %rax, VCPU(VP_GUEST_CS)
	popq VCPU(VP_REFLECT + 8)
	popq VCPU(VP_REFLECT + 16)
	mov (%rsp), %rax
	and $~0x200, %rax
	or VCPU(VP_VIF), %rax
	mov %rax, VCPU(VP_REFLECT + 24)
	pop %rax
	popq VCPU(VP_REFLECT + 32)
	popq VCPU(VP_REFLECT + 40)
	movq $0, VCPU(VP_VIF)
	pushq $SEL_R1_SS
	pushq $0 // set by gate_reflect
	and $~0x34100, %rax // TF, NT, RF, VM
	or $0x202, %rax
	push %rax
	pushq $SEL_R1_CS
	lea gate_reflect(%rip), %rax
	push %rax
	mov VCPU(VP_SCRATCH), %rax
	iretq
gate_page_fault_again:
	decq VCPU(VP_MARKER_LEFT)
	jg gate_page_fault_reflect
	movq $-1, VCPU(VP_MARKER_CR2)
gate_page_fault_leave:
	mov VCPU(VP_SCRATCH), %rax
	jmp gate_trap

// From ring 0: the hypervisor's own trap, or a fault of the gate's IRETQ (a frame that the machine refuses). Long mode has no
// virtual-8086 mode, but QEMU 7.2's TCG enters it by an IRETD of ring 3; its CS may be any number.
gate_trap_ring0:
	testl $0x20000, 32(%rsp)
	jnz gate_trap_guest
	push %rax
	push %rcx
	lea gate_text_start(%rip), %rax
	mov 32(%rsp), %rcx
	sub %rax, %rcx
	cmp $(gate_text_end - gate_text_start), %rcx
	pop %rcx
	pop %rax
	jb gate_trap_in_gate
	pushq TRUST(GT_HV_TRAP)
	ret

// A debug exception here is one that MOV SS or POP SS held back until the next instruction, an entry into the gate: it is the
// guest's doing, and dropped. Anything else is a refused frame; what the page says of RIP and CS is then the frame's.
gate_trap_in_gate:
	cmpq $1, (%rsp)
	je gate_drop_debug
	jmp gate_pv_windows
gate_trap_reported:
	save_gprs
	mov %cr2, %rax
	mov %rax, VCPU(VP_CR2)
	pop %rax
	or $GATE_FAULT, %rax
	mov %rax, VCPU(VP_VECTOR)
	popq VCPU(VP_ERROR)
	mov (%rsp), %rax // for the report: where in the gate, with what stack
	mov %rax, VCPU(VP_SCRATCH + 16)
	mov 24(%rsp), %rax
	mov %rax, VCPU(VP_SCRATCH + 24)
	to_hypervisor

gate_drop_debug:
	add $16, %rsp
	iretq

// SYSCALL from ring 3 (ring 1 never executes one: the translator does not emit it).
	.balign 16
	.globl gate_syscall
	.hidden gate_syscall
gate_syscall:
	mov %rsp, VCPU(VP_SCRATCH)
	mov %rax, VCPU(VP_SCRATCH + 8)
	mov TRUST(GT_LSTAR_TC), %rax
	test %rax, %rax
	jz gate_syscall_cross
	lea AT(GATE_STACK + 0x1000)(%rip), %rsp
	pushq $SEL_R1_SS
	pushq VCPU(VP_SCRATCH)
	mov %r11, %rax
	and TRUST(GT_SYSCALL_KEEP), %rax
	or $0x202, %rax
	push %rax
	pushq $SEL_R1_CS
	pushq TRUST(GT_LSTAR_TC)
	mov TRUST(GT_SYSCALL_CS), %rax
	mov %rax, VCPU(VP_GUEST_CS)
	mov TRUST(GT_SYSCALL_VIF), %rax
	and %r11, %rax
	mov %rax, VCPU(VP_VIF)
	mov VCPU(VP_SCRATCH + 8), %rax
	iretq

gate_syscall_cross:
	movq $0, VCPU(VP_ERROR)
gate_syscall_cross_either:
	mov VCPU(VP_SCRATCH + 8), %rax
	save_gprs
	mov VCPU(VP_SCRATCH), %rax
	mov %rax, VCPU(VP_RSP)
	mov %rcx, VCPU(VP_RIP)
	mov %r11, VCPU(VP_RFLAGS)
	movq $SEL_R3_CS, VCPU(VP_CS)
	movq $SEL_R3_SS, VCPU(VP_SS)
	movq $GATE_SYSCALL_EXIT, VCPU(VP_VECTOR)
	to_hypervisor

// MOV to CR3 in translated code: loads the root if the hypervisor has listed it for this guest CR3.
	.balign 16
	.globl gate_cr3
	.hidden gate_cr3
gate_cr3:
	push %rax
	push %rcx
	cmpq $0, TRUST(GT_CR3_EXITS)
	jne gate_cr3_refuse
	mov VCPU(VP_CR3_REQUEST), %rax
	and TRUST(GT_CR3_MASK), %rax
	lea AT(GATE_TRUST + GT_CR3_MAP)(%rip), %rcx
	.rept GATE_CR3_MAP
	cmp %rax, (%rcx)
	je gate_cr3_found
	add $16, %rcx
	.endr
gate_cr3_refuse:
	movq $1, VCPU(VP_CR3_REFUSED)
	pop %rcx
	pop %rax
	iretq
gate_cr3_found:
	mov 8(%rcx), %rcx
	test %rcx, %rcx
	jz gate_cr3_refuse
	mov %rcx, %cr3
	mov VCPU(VP_CR3_REQUEST), %rax
	btr $63, %rax // only with PCIDs can it be set
	mov %rax, VCPU(VP_GUEST_CR3)
	movq $0, VCPU(VP_CR3_REFUSED)
	pop %rcx
	pop %rax
	iretq

// SYSCALL from 32-bit code: always crosses.
	.balign 16
	.globl gate_syscall32
	.hidden gate_syscall32
gate_syscall32:
	mov %rsp, VCPU(VP_SCRATCH)
	mov %rax, VCPU(VP_SCRATCH + 8)
	movq $1, VCPU(VP_ERROR)
	jmp gate_syscall_cross_either

#include "machine/gate/gate_pv.inc"

// Into the guest world: RIP, CS, RFLAGS, RSP, SS and the general registers as the hypervisor put them in the vcpu_page.
	.balign 16
	.globl gate_to_guest
	.hidden gate_to_guest
gate_to_guest:
	mov TRUST(GT_GUEST_CR3), %rax
	mov %rax, %cr3
	lea AT(GATE_STACK + 0x1000)(%rip), %rsp
	pushq VCPU(VP_SS)
	pushq VCPU(VP_RSP)
	pushq VCPU(VP_RFLAGS)
	pushq VCPU(VP_CS)
	pushq VCPU(VP_RIP)
	mov VCPU(VP_GPR + 0 * 8), %rax
	mov VCPU(VP_GPR + 1 * 8), %rcx
	mov VCPU(VP_GPR + 2 * 8), %rdx
	mov VCPU(VP_GPR + 3 * 8), %rbx
	mov VCPU(VP_GPR + 5 * 8), %rbp
	mov VCPU(VP_GPR + 6 * 8), %rsi
	mov VCPU(VP_GPR + 7 * 8), %rdi
	mov VCPU(VP_GPR + 8 * 8), %r8
	mov VCPU(VP_GPR + 9 * 8), %r9
	mov VCPU(VP_GPR + 10 * 8), %r10
	mov VCPU(VP_GPR + 11 * 8), %r11
	mov VCPU(VP_GPR + 12 * 8), %r12
	mov VCPU(VP_GPR + 13 * 8), %r13
	mov VCPU(VP_GPR + 14 * 8), %r14
	mov VCPU(VP_GPR + 15 * 8), %r15
	iretq

// Ring 1: RSP0 from the guest's TSS, aligned as the machine does, and the guest's exception frame on that stack. A fault here is
// an ordinary one of ring 1. Last in the text: the hypervisor knows it by its address. RAX is the user's and also in scratch.
	.balign 16
	.globl gate_reflect
	.hidden gate_reflect
gate_reflect:
	lea VCPU(VP_STACK_TOP), %rsp
	pushfq
	mov TRUST(GT_REFLECT_RSP0), %rax
	mov (%rax), %rax
	and $~15, %rax
	mov %rax, VCPU(VP_SCRATCH + 8)
	mov VCPU(VP_SCRATCH), %rax
	popfq
	mov VCPU(VP_SCRATCH + 8), %rsp
	pushq VCPU(VP_REFLECT + 40)
	pushq VCPU(VP_REFLECT + 32)
	pushq VCPU(VP_REFLECT + 24)
	pushq VCPU(VP_REFLECT + 16)
	pushq VCPU(VP_REFLECT + 8)
	pushq VCPU(VP_REFLECT)
	jmp *TRUST(GT_REFLECT_HANDLER)

	.balign 8
gate_window:
	.quad WINDOW_BASE

	.globl gate_text_end
	.hidden gate_text_end
gate_text_end:
	.balign 4096

// Hypervisor side. void gate_run(struct gate_trust *trust, u64 entry): returns at the next exit.
	.section .text.gate_run, "ax", @progbits
	.globl gate_run
	.hidden gate_run
gate_run:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	push %rdi
	mov %rsp, GT_HV_STACK(%rdi)
	jmp *%rsi

	.globl gate_hv_entry
	.hidden gate_hv_entry
gate_hv_entry:
	pushq $2
	popfq
	pop %rdi
	mov %rcx, GT_EXIT_CR3(%rdi)
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
	.section .note.GNU-stack, "", @progbits
