// SPDX-License-Identifier: MIT
// Memory: shared and private file mappings, copy-on-write over fork, protection changes, unmapping, mremap, madvise,
// and writes at many addresses. Wrong shadow page tables show here first.
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tz.h"

enum { PAGE = 4096, PAGES = 256, SIZE = PAGE * PAGES };

static sigjmp_buf back;
static void *volatile fault_address;

static void on_segv(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	fault_address = info->si_addr;
	siglongjmp(back, 1);
}

static bool faults(volatile char *p, bool write)
{
	fault_address = NULL;
	if (sigsetjmp(back, 1))
		return fault_address == (void *)p;
	if (write)
		*p = 1;
	else
		(void)*p;
	return false;
}

static unsigned long sum(const unsigned char *p, size_t n)
{
	unsigned long s = 0;

	for (size_t i = 0; i < n; i++)
		s = s * 31 + p[i];
	return s;
}

static bool child_succeeds(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void files(void)
{
	int fd = open("/tmp/mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
	unsigned char *shared, *private, *other, buffer[PAGE];

	check("mmap: file", fd >= 0 && !ftruncate(fd, SIZE));
	shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	other = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	private = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	for (int i = 0; i < PAGES; i++)
		memset(shared + i * PAGE, i, PAGE);
	check("mmap: two shared mappings agree", !memcmp(shared, other, SIZE));
	check("mmap: private mapping sees the file", !memcmp(shared, private, SIZE));
	for (int i = 0; i < PAGES; i += 2)
	private[i * PAGE + 5] = 0xaa;
	check("mmap: private write stays private", shared[5] == 0 && other[2 * PAGE + 5] == 2 && private[5] == 0xaa);
	check("mmap: read sees a mapped write", pread(fd, buffer, PAGE, 7 * PAGE) == PAGE && buffer[9] == 7);
	memset(buffer, 0x55, PAGE);
	check("mmap: mapping sees a write", pwrite(fd, buffer, PAGE, 3 * PAGE) == PAGE && other[3 * PAGE + 77] == 0x55);
	check("mmap: msync", !msync(shared, SIZE, MS_SYNC));
	munmap(shared, SIZE);
	check("mmap: unmapped memory faults", faults((char *)shared + PAGE, false));
	check("mmap: read-only mapping refuses writes", faults((char *)other, true));
	munmap(other, SIZE);
	munmap(private, SIZE);
	close(fd);
	unlink("/tmp/mapped");
}

static void copy_on_write(void)
{
	unsigned char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile int *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long before;
	bool good = true;

	for (int i = 0; i < SIZE; i++)
		p[i] = i * 7;
	before = sum(p, SIZE);
	for (int round = 0; round < 8; round++) {
		pid_t pid = fork();

		if (!pid) {
			unsigned long mine = sum(p, SIZE);

			for (int i = 0; i < PAGES; i++)
				p[i * PAGE + round] ^= 0xff;
			shared[round] = round + 100;
			_exit(mine == before && sum(p, SIZE) != before ? 0 : 1);
		}
		p[round * PAGE] = p[round * PAGE]; // the parent's own copy-on-write, while the child runs
		good = good && child_succeeds(pid) && sum(p, SIZE) == before && shared[round] == round + 100;
	}
	check("fork: copy-on-write keeps both sides apart", good);
	munmap(p, SIZE);
	munmap((void *)shared, PAGE);
}

static void nested_forks(void)
{
	int *value = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pid_t pid;
	int depth = 0;

	*value = 0;
	for (;;) {
		pid = depth < 6 ? fork() : -1;
		if (pid)
			break;
		depth++;
		(*value)++;
		if (*value != depth)
			_exit(1);
	}
	if (pid > 0 && !child_succeeds(pid))
		_exit(1);
	if (depth)
		_exit(*value == depth ? 0 : 1);
	check("fork: six generations", *value == 0);
	munmap(value, PAGE);
}

static void protection(void)
{
	volatile char *p = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool good = true;
	static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; // mov eax, 42; ret
	int (*run)(void) = (int (*)(void))p;

	for (int i = 0; i < 200; i++) {
		p[PAGE] = i;
		mprotect((void *)(p + PAGE), PAGE, PROT_READ);
		good = good && p[PAGE] == (char)i && faults(p + PAGE, true);
		mprotect((void *)(p + PAGE), PAGE, PROT_NONE);
		good = good && faults(p + PAGE, false);
		mprotect((void *)(p + PAGE), PAGE, PROT_READ | PROT_WRITE);
		good = good && p[PAGE] == (char)i;
	}
	check("mprotect: 200 rounds", good);
	memcpy((void *)p, code, sizeof(code));
	mprotect((void *)p, PAGE, PROT_READ | PROT_EXEC);
	check("mprotect: executable", run() == 42 && faults(p, true));
	mprotect((void *)p, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
	good = true;
	for (int i = 0; i < 100; i++) {
		p[1] = i;
		good = good && run() == i;
	}
	check("self-modifying user code", good);
	mprotect((void *)p, PAGE, PROT_READ | PROT_WRITE);
	fault_address = NULL;
	check("no-execute", sigsetjmp(back, 1) ? fault_address == (void *)p : (run(), false));
	munmap((void *)p, 8 * PAGE);
}

static void moving(void)
{
	unsigned char *p = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *q;
	unsigned long before;

	for (int i = 0; i < 64 * PAGE; i++)
		p[i] = i * 13;
	before = sum(p, 64 * PAGE);
	q = mremap(p, 64 * PAGE, 4096 * PAGE, MREMAP_MAYMOVE);
	check("mremap: contents move along", q != MAP_FAILED && sum(q, 64 * PAGE) == before && q[100 * PAGE] == 0);
	check("madvise: dropped pages read as zero",
	      !madvise(q, 32 * PAGE, MADV_DONTNEED) && q[0] == 0 && q[31 * PAGE] == 0);
	check("madvise: the others stay", q[32 * PAGE + 1] == (unsigned char)((32 * PAGE + 1) * 13));
	munmap(q, 4096 * PAGE);
}

// One page in each of many page tables: many leaf tables, built and torn down.
static void sparse(void)
{
	bool good = true;
	char *base = mmap(NULL, 1ul << 32, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	for (unsigned long i = 0; i < 512; i++)
		base[i << 23] = i;
	for (unsigned long i = 0; i < 512; i++)
		good = good && base[i << 23] == (char)i && base[(i << 23) + PAGE] == 0;
	check("sparse: 512 page tables", good && !munmap(base, 1ul << 32));
}

int tz_mmap(int argc, char **argv)
{
	struct sigaction action = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_NODEFER};

	(void)argc;
	(void)argv;
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	files();
	copy_on_write();
	nested_forks();
	protection();
	moving();
	sparse();
	return 0;
}
