// SPDX-License-Identifier: MIT
// One instruction: fetch, decode once, dispatch by mnemonic, commit RIP. The table below is the covered set; whatever is
// not in it and no FPU instruction (fpu.c) is EMUL_UNSUPPORTED and changes nothing.
#include "core/emul/internal.h"

static const emu_fn table[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define M(name, fn) [ZYDIS_MNEMONIC_##name] = emu_op_##fn
	// Arithmetic and logic.
	M(ADD, alu),
	M(ADC, alu),
	M(SUB, alu),
	M(SBB, alu),
	M(AND, alu),
	M(OR, alu),
	M(XOR, alu),
	M(CMP, cmp),
	M(TEST, test),
	M(INC, unary),
	M(DEC, unary),
	M(NEG, unary),
	M(NOT, unary),
	M(MUL, mul),
	M(IMUL, imul),
	M(DIV, div),
	M(IDIV, idiv),
	M(ADCX, adx),
	M(ADOX, adx),
	M(AAA, bcd),
	M(AAS, bcd),
	M(AAD, bcd),
	M(AAM, bcd),
	M(DAA, bcd),
	M(DAS, bcd),
	M(SALC, bcd),
	// Moves.
	M(MOV, mov),
	M(MOVZX, movzx),
	M(MOVSX, movsx),
	M(MOVSXD, movsx),
	M(LEA, lea),
	M(XCHG, xchg),
	M(BSWAP, bswap),
	M(MOVBE, movbe),
	M(MOVNTI, movzx),
	M(CBW, convert),
	M(CWDE, convert),
	M(CDQE, convert),
	M(CWD, convert),
	M(CDQ, convert),
	M(CQO, convert),
	M(XLAT, xlat),
	M(LAHF, lahf),
	M(SAHF, sahf),
	M(CLC, flag),
	M(STC, flag),
	M(CMC, flag),
	M(CLD, flag),
	M(STD, flag),
#define CC(s) M(J##s, jcc), M(SET##s, setcc), M(CMOV##s, cmovcc)
	CC(O),
	CC(NO),
	CC(B),
	CC(NB),
	CC(Z),
	CC(NZ),
	CC(BE),
	CC(NBE),
	CC(S),
	CC(NS),
	CC(P),
	CC(NP),
	CC(L),
	CC(NL),
	CC(LE),
	CC(NLE),
#undef CC
	// Shifts and bits.
	M(SHL, shift),
	M(SHR, shift),
	M(SAR, shift),
	M(ROL, shift),
	M(ROR, shift),
	M(RCL, shift),
	M(RCR, shift),
	M(SHLD, shld),
	M(SHRD, shld),
	M(BT, bt),
	M(BTS, bt),
	M(BTR, bt),
	M(BTC, bt),
	M(BSF, scan),
	M(BSR, scan),
	M(TZCNT, scan),
	M(LZCNT, scan),
	M(POPCNT, scan),
	M(CRC32, crc32),
	M(ANDN, bmi),
	M(BLSI, bmi),
	M(BLSR, bmi),
	M(BLSMSK, bmi),
	M(BEXTR, bmi),
	M(BZHI, bmi),
	M(RORX, bmi),
	M(SHLX, bmi),
	M(SHRX, bmi),
	M(SARX, bmi),
	M(PDEP, bmi),
	M(PEXT, bmi),
	M(MULX, bmi),
	// Atomics.
	M(XADD, xadd),
	M(CMPXCHG, cmpxchg),
	M(CMPXCHG8B, cmpxchg8b),
	M(CMPXCHG16B, cmpxchg8b),
// Strings and ports.
#define STR(s) M(s##B, string), M(s##W, string)
	STR(MOVS),
	M(MOVSD, movsd),
	M(MOVSQ, string),
	STR(CMPS),
	M(CMPSD, cmpsd),
	M(CMPSQ, string),
	STR(SCAS),
	M(SCASD, string),
	M(SCASQ, string),
	STR(LODS),
	M(LODSD, string),
	M(LODSQ, string),
	STR(STOS),
	M(STOSD, string),
	M(STOSQ, string),
	STR(INS),
	M(INSD, string),
	STR(OUTS),
	M(OUTSD, string),
	M(IN, in),
	M(OUT, out),
#undef STR
	// Control flow and stack.
	M(JMP, jmp),
	M(CALL, call),
	M(RET, ret),
	M(LOOP, loop),
	M(LOOPE, loop),
	M(LOOPNE, loop),
	M(JCXZ, jcxz),
	M(JECXZ, jcxz),
	M(JRCXZ, jcxz),
	M(PUSH, push),
	M(POP, pop),
	M(PUSHF, pushf),
	M(PUSHFD, pushf),
	M(PUSHFQ, pushf),
	M(POPF, popf),
	M(POPFD, popf),
	M(POPFQ, popf),
	M(ENTER, enter),
	M(LEAVE, leave),
	M(PUSHA, pusha),
	M(PUSHAD, pusha),
	M(POPA, popa),
	M(POPAD, popa),
	M(BOUND, bound),
	M(INT, int),
	M(INT3, int),
	M(INTO, int),
	M(INT1, int),
	M(IRET, iret),
	M(IRETD, iret),
	M(IRETQ, iret),
	M(SYSCALL, syscall),
	M(SYSRET, sysret),
	M(SYSENTER, sysenter),
	M(SYSEXIT, sysexit),
	// System.
	M(CLI, cli),
	M(STI, sti),
	M(HLT, hlt),
	M(RDMSR, rdmsr),
	M(WRMSR, wrmsr),
	M(CPUID, cpuid),
	M(RDTSC, rdtsc),
	M(RDTSCP, rdtsc),
	M(RDPID, rdpid),
	M(RDRAND, rdrand),
	M(RDSEED, rdrand),
	M(CLTS, clts),
	M(LMSW, lmsw),
	M(SMSW, smsw),
	M(INVLPG, invlpg),
	M(INVPCID, invpcid),
	M(WBINVD, cpl0_nop),
	M(INVD, cpl0_nop),
	M(SWAPGS, swapgs),
	M(RDFSBASE, fsgsbase),
	M(RDGSBASE, fsgsbase),
	M(WRFSBASE, fsgsbase),
	M(WRGSBASE, fsgsbase),
	M(STAC, stac),
	M(CLAC, stac),
	M(XGETBV, xgetbv),
	M(XSETBV, xsetbv),
	M(RDPMC, gp),
	M(LGDT, lgdt),
	M(LIDT, lgdt),
	M(SGDT, sgdt),
	M(SIDT, sgdt),
	M(LLDT, lldt),
	M(LTR, ltr),
	M(SLDT, sldt),
	M(STR, sldt),
	M(LAR, lar),
	M(LSL, lar),
	M(VERR, verr),
	M(VERW, verr),
	M(ARPL, arpl),
	M(LDS, lxs),
	M(LES, lxs),
	M(LFS, lxs),
	M(LGS, lxs),
	M(LSS, lxs),
	// Nothing to do, and what a guest here may not use.
	M(NOP, nop),
	M(PAUSE, nop),
	M(LFENCE, nop),
	M(SFENCE, nop),
	M(MFENCE, nop),
	M(PREFETCH, nop),
	M(PREFETCHW, nop),
	M(PREFETCHWT1, nop),
	M(PREFETCHNTA, nop),
	M(PREFETCHT0, nop),
	M(PREFETCHT1, nop),
	M(PREFETCHT2, nop),
	M(CLFLUSH, nop),
	M(CLFLUSHOPT, nop),
	M(CLWB, nop),
	M(CLDEMOTE, nop),
	M(ENDBR32, nop),
	M(ENDBR64, nop),
	M(SERIALIZE, nop),
	M(UD0, ud),
	M(UD1, ud),
	M(UD2, ud),
	M(MONITOR, ud),
	M(MWAIT, ud),
	M(VMCALL, vmcall),
	M(VMMCALL, vmcall),
	M(VMLAUNCH, ud),
	M(VMRESUME, ud),
	M(VMXON, ud),
	M(VMXOFF, ud),
	M(VMREAD, ud),
	M(VMWRITE, ud),
	M(VMPTRLD, ud),
	M(VMPTRST, ud),
	M(VMCLEAR, ud),
	M(VMFUNC, ud),
	M(VMRUN, ud),
	M(VMLOAD, ud),
	M(VMSAVE, ud),
	M(STGI, ud),
	M(CLGI, ud),
	M(RSM, ud),
	M(GETSEC, ud),
	M(MONITORX, ud),
	M(MWAITX, ud),
	M(UMONITOR, ud),
	M(UMWAIT, ud),
	M(TPAUSE, ud),
	M(ENCLS, ud),
	M(ENCLU, ud),
	M(RMPADJUST, ud),
	M(PVALIDATE, ud),
	M(CLZERO, ud),
	M(INVLPGA, ud),
	M(SKINIT, ud),
	M(PCONFIG, ud),
	M(ENCLV, ud),
	M(XABORT, ud),
	M(XBEGIN, ud),
	M(XEND, ud),
	M(XTEST, ud),
	M(INVEPT, ud),
	M(INVVPID, ud),
	M(RDPRU, ud),
	M(TLBSYNC, ud),
	M(INVLPGB, ud),
	M(PSMASH, ud),
	M(RMPUPDATE, ud),
	M(PTWRITE, ud),
	M(SETSSBSY, ud),
	M(SAVEPREVSSP, ud),
	M(RSTORSSP, ud),
	M(CLRSSBSY, ud),
	M(INCSSPD, ud),
	M(INCSSPQ, ud),
	M(WRSSD, ud),
	M(WRSSQ, ud),
	M(WRUSSD, ud),
	M(WRUSSQ, ud),
	M(XSAVES, ud),
	M(XSAVES64, ud),
	M(XRSTORS, ud),
	M(XRSTORS64, ud),
	M(UIRET, ud),
	M(HRESET, ud),
	M(LLWPCB, ud),
	M(CLUI, ud),
	M(STUI, ud),
	M(TESTUI, ud),
	M(SENDUIPI, ud),
	M(MCOMMIT, ud),
	M(ENQCMD, ud),
	M(ENQCMDS, ud),
	M(RDSSPD, nop), // without shadow stacks
	M(RDSSPQ, nop),
	M(RDPKRU, pkru),
	M(WRPKRU, pkru),
	// SSE moves.
	M(MOVUPS, sse),
	M(MOVUPD, sse),
	M(MOVAPS, sse),
	M(MOVAPD, sse),
	M(MOVDQA, sse),
	M(MOVDQU, sse),
	M(LDDQU, sse),
	M(MOVQ, sse),
	M(MOVD, sse),
	M(MOVSS, sse),
	M(MOVNTDQ, sse),
	M(MOVNTDQA, sse),
	M(MOVNTPS, sse),
	M(MOVNTPD, sse),
	M(MOVLPS, sse),
	M(MOVLPD, sse),
	M(MOVHPS, sse),
	M(MOVHPD, sse),
#undef M
};

enum insn_mode emu_mode(const struct x86_cpu *c)
{
	if (cpu_long_mode(c))
		return INSN_MODE_64;
	return c->seg[SEG_CS].attr & SEG_ATTR_DB ? INSN_MODE_32
						 : INSN_MODE_16; // in real mode too: what it kept of protected mode
}

// Bytes from `at` on, as many as there are before a fault. *got may grow.
static enum emul_result fetch_more(struct emu *x, u64 at, u8 *bytes, unsigned *got)
{
	unsigned want = sizeof(x->in.bytes) - *got, more = 0;
	u64 linear;
	enum emul_result r;

	if (!emu_long(x) && at + *got > x->cpu->seg[SEG_CS].limit)
		return emu_gp0(x);
	if (emu_long(x) && !is_canonical(at + *got))
		return emu_gp0(x);
	linear = emu_long(x) ? at + *got : (u32)(x->cpu->seg[SEG_CS].base + at + *got);
	r = x->p->fetch(x->ctx, linear, bytes + *got, want, &more, &x->e->fault);
	if (r != EMUL_OK && !(r == EMUL_FAULT && more))
		return r;
	if (!more) // a port that reports a short fetch as success must fault on the next byte
		return EMUL_UNSUPPORTED;
	*got += more;
	return EMUL_OK;
}

// First asks for what lies on the page of RIP, as the port wills; a second time when the instruction goes on.
static enum emul_result fetch_and_decode(struct emu *x)
{
	u64 at = x->cpu->rip;
	u8 bytes[sizeof(x->in.bytes)];
	unsigned got = 0;

	for (;;) {
		enum insn_status s;

		TRY(fetch_more(x, at, bytes, &got));
		s = insn_decode_visible(&x->in, x->mode, bytes, got);
		if (s == INSN_LONG)
			return emu_gp0(x);
		if (s == INSN_BAD)
			return emu_ud(x);
		if (s == INSN_OK)
			return EMUL_OK;
	}
}

static enum emul_result finish(struct emu *x, bool stepping)
{
	struct x86_cpu *c = x->cpu;
	bool halts = x->in.d.mnemonic == ZYDIS_MNEMONIC_HLT;

	c->rip = x->next;
	c->interrupt_shadow = x->shadow;
	if (!x->keep_rf)
		c->rflags &= ~RFL_RF;
	x->e->count++;
	emu_debug_trap(x, stepping);
	return halts ? EMUL_HALT : EMUL_OK;
}

enum emul_result emul_step(struct emul *e)
{
	struct emu x; // ~1 KiB, most of it the decoder's: not cleared
	bool stepping = e->cpu->rflags & RFL_TF;
	enum emul_result r;
	emu_fn fn;

	x.e = e;
	x.cpu = e->cpu;
	x.p = e->ports;
	x.ctx = e->ctx;
	x.mode = emu_mode(e->cpu);
	x.shadow = false;
	x.keep_rf = false;
	x.switched = false;
	x.hits = 0;
	e->trap = 0;
	e->switched = false;
	e->length = 0;
	e->mnemonic = ZYDIS_MNEMONIC_INVALID;
	if (unlikely(e->cpu->dr[7] & DR7_ENABLES))
		TRY(emu_code_breakpoint(&x));
	TRY(fetch_and_decode(&x));
	e->length = x.in.length;
	e->mnemonic = (u16)x.in.d.mnemonic;
	x.next = e->cpu->rip + x.in.length;
	if (x.mode != INSN_MODE_64) // EIP runs on past 64 KiB also in 16-bit code: the limit stops it
		x.next &= 0xffffffff;
	fn = table[x.in.d.mnemonic];
	r = fn ? fn(&x) : emu_native(&x);
	return r == EMUL_OK ? finish(&x, stepping) : r;
}
