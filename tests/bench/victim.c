/* A program that crashes as a router's would: deep in calls, alone, among threads, or with a heap.
 * It says when it is ready, and crashes at the first byte it is given. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CALLED __attribute__((noinline, noclone))

static volatile int *volatile nowhere = (int *)16;
static volatile int crashing;
static pthread_barrier_t started;

CALLED int bottom(int depth)
{
	if (crashing == depth)
		*nowhere = depth;
	else
		for (;;)
			pause();
	return depth;
}

CALLED int fifth(int depth) { return bottom(depth) + 1; }
CALLED int fourth(int depth) { return fifth(depth) + 1; }
CALLED int third(int depth) { char buffer[96]; memset(buffer, depth, 96); return fourth(depth) + buffer[depth]; }
CALLED int second(int depth) { return third(depth) + 1; }
CALLED int first(int depth) { return second(depth) + 1; }

static void *thread(void *nothing)
{
	pthread_barrier_wait(&started);
	first(1);
	return nothing;
}

static void start_threads(int count)
{
	pthread_t id;

	pthread_barrier_init(&started, NULL, count + 1);
	for (int i = 0; i < count; i++)
		if (pthread_create(&id, NULL, thread, NULL))
			exit(3);
	pthread_barrier_wait(&started);
	usleep(50000);
}

int main(int argc, char **argv)
{
	char byte;

	if (argc == 3 && !strcmp(argv[1], "threads"))
		start_threads(atoi(argv[2]) - 1);
	else if (argc == 3 && !strcmp(argv[1], "heap"))
		memset(malloc((size_t)atoi(argv[2]) << 20), 1, (size_t)atoi(argv[2]) << 20);
	if (write(1, "!", 1) != 1 || read(0, &byte, 1) != 1)
		return 3;
	crashing = 2;
	return first(2);
}
