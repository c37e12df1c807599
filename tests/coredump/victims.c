/* Programs that crash, by mode: what a router's daemons do wrong.  Compiled at test time. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define KEPT __attribute__((noinline, used))

static volatile int *volatile nowhere = (int *)16;
static pthread_barrier_t ready;

KEPT int inner(int depth)
{
	if (depth > 0)
		return inner(depth - 1) + 1;
	*nowhere = 1;
	return 0;
}

KEPT int outer(int depth)
{
	return inner(depth) + 1;
}

KEPT void *waiter(void *is_thread)
{
	if (is_thread)
		pthread_barrier_wait(&ready);
	for (;;)
		pause();
	return is_thread;
}

static void start_threads(int count)
{
	pthread_t thread;

	pthread_barrier_init(&ready, NULL, count + 1);
	for (int i = 0; i < count; i++)
		if (pthread_create(&thread, NULL, waiter, &ready))
			exit(3);
	pthread_barrier_wait(&ready);
	usleep(20000);
}

static void fill_heap(size_t size)
{
	char *heap = malloc(size);

	if (!heap)
		exit(3);
	memset(heap, 1, size);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "plain";

	if (!strcmp(mode, "wait")) {
		start_threads(atoi(argv[2]) - 1);
		if (write(1, "!", 1) == 1)
			waiter(NULL);
	}
	if (!strcmp(mode, "threads"))
		start_threads(atoi(argv[2]) - 1);
	else if (!strcmp(mode, "heap"))
		fill_heap((size_t)atoi(argv[2]) << 20);
	else if (!strcmp(mode, "drop") && (setgid(65534) || setuid(65534)))
		return 3;
	else if (!strcmp(mode, "effective") && seteuid(65534))
		return 3;
	else if (!strcmp(mode, "gone") && unlink("/proc/self/exe") && unlink(argv[0]))
		return 3;
	else if (!strcmp(mode, "name"))
		prctl(PR_SET_NAME, argv[2]);
	else if (!strcmp(mode, "abort"))
		abort();
	return outer(2);
}
