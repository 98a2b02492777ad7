// SPDX-License-Identifier: MIT
// Threads: mutexes and condition variables (futexes), thread-local storage (FS base per thread), processes that
// share a futex, pipes between two processes.
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tz.h"

enum { THREADS = 6, ROUNDS = 5000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static unsigned long counter, turn;
static _Thread_local unsigned long mine;

static void *count_up(void *argument)
{
	mine = (unsigned long)argument;
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&lock);
		counter++;
		pthread_mutex_unlock(&lock);
		mine++;
		if (i % 500 == 0)
			sched_yield();
	}
	return (void *)(mine - (unsigned long)argument);
}

static void *take_turns(void *argument)
{
	unsigned long me = (unsigned long)argument;

	for (int i = 0; i < 200; i++) {
		pthread_mutex_lock(&lock);
		while (turn % THREADS != me)
			pthread_cond_wait(&turned, &lock);
		turn++;
		pthread_cond_broadcast(&turned);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static void mutexes(void)
{
	pthread_t thread[THREADS];
	void *result;
	bool good = true;

	for (unsigned long i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, count_up, (void *)(i << 32));
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &result);
		good = good && (unsigned long)result == ROUNDS;
	}
	check("threads: mutex", counter == (unsigned long)THREADS * ROUNDS);
	check("threads: thread-local storage", good);
	for (unsigned long i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, take_turns, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	check("threads: condition variable", turn == THREADS * 200);
}

static void futex_wait(atomic_int *word, int value)
{
	while (atomic_load(word) != value)
		syscall(SYS_futex, word, FUTEX_WAIT, !value, NULL, NULL, 0);
}

static void futex_set(atomic_int *word, int value)
{
	atomic_store(word, value);
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void futex_between_processes(void)
{
	atomic_int *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = fork();
	int status = -1;

	for (int i = 0; i < 1000; i++) {
		futex_wait(word, pid ? 1 : 0);
		futex_set(word, pid ? 0 : 1);
	}
	if (!pid)
		_exit(0);
	waitpid(pid, &status, 0);
	check("futex: 1000 rounds between processes", status == 0);
}

static void pipes(void)
{
	int there[2], back[2];
	unsigned long value = 1, sum = 0;
	pid_t pid;

	if (pipe(there) || pipe(back)) {
		check("pipe", false);
		return;
	}
	pid = fork();
	if (!pid) {
		close(there[1]);
		while (read(there[0], &value, sizeof(value)) == sizeof(value)) {
			value *= 3;
			if (write(back[1], &value, sizeof(value)) != sizeof(value))
				_exit(1);
		}
		_exit(0);
	}
	for (unsigned long i = 1; i <= 1000; i++) {
		if (write(there[1], &i, sizeof(i)) != sizeof(i) ||
		    read(back[0], &value, sizeof(value)) != sizeof(value))
			break;
		sum += value;
	}
	close(there[1]);
	waitpid(pid, NULL, 0);
	check("pipe: 1000 round trips", sum == 3 * 500500ul);
}

int tz_threads(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	mutexes();
	futex_between_processes();
	pipes();
	return 0;
}
