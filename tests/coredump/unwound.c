/* Crashes that once had wrong backtraces: the first argument is the number of one.  For
   test_emulated_frames.py; compiled without any table that tells of frames. */

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define APART __attribute__((noinline, noclone))

volatile int sink;
int *volatile nowhere;
int (*volatile pointer)(int);

APART int leaf(int value) { return *nowhere + value; }

APART int quiet(int value) { sink += value; return value ^ sink; }

APART int calls(int value) { sink += quiet(value); return quiet(value + 1) + sink; }

/* In a function that was called through a pointer, and has called others. */
static APART int itself(int value)
{
	int sum = calls(value) + quiet(value);

	sink += sum;
	*nowhere = sum;
	return sum + calls(value);
}

/* Where it faults, what a compiler puts behind code that may not come to its end: a trap. */
static APART int trapped(int value)
{
	sink += value;
	return *(int *)0 + value;
}

static APART int behind_a_trap(int value) { return trapped(value + sink); }

static APART __attribute__((noreturn)) void gives_up(int value)
{
	sink += leaf(value);
	abort();
}

static APART int behind_what_gives_up(int value)
{
	if (value)
		gives_up(value + quiet(value));
	return calls(value);
}

/* A variable that points into the frame, in a register that has another use elsewhere. */
static APART int points(char *given, int size)
{
	char own[64], *at = own;

	if (size > 8) {
		at = given;
		sink += quiet(size);
	}
	memset(own, size, sizeof own);
	for (int index = 0; index < 4; index++)
		at[index] += quiet(index);
	size = leaf(at[1]);
	at[2] += size;
	return at[2] + own[3] + size;
}

static APART int room(int value)
{
	char *some = __builtin_alloca(value * 40 + 8);

	memset(some, value, value * 40);
	sink += some[value];
	value = leaf(value);
	return some[1] + value;
}

static APART int much(int value)
{
	volatile char buffer[40000];

	buffer[value * 300] = value;
	value = leaf(value);
	return buffer[value & 1023] + value;
}

static APART int several(int count, ...)
{
	int sum = 0;
	va_list list;

	va_start(list, count);
	while (count--)
		sum += va_arg(list, int);
	va_end(list);
	sink += sum;
	return leaf(sum) + 1;
}

static APART int sorted(const void *left, const void *right)
{
	sink += leaf(*(const int *)left);
	return *(const int *)left - *(const int *)right;
}

static APART int sorts(int value)
{
	int values[8] = { 3, 1, value, 5, 4, 2, 7, 6 };

	qsort(values, 8, sizeof *values, sorted);
	return values[value];
}

static APART int wide(long long a, long long b, int value)
{
	long long quotient = a / b, rest = a % b;

	sink += (int)quotient;
	return leaf(value) + (int)(quotient * rest);
}

static APART int nobody(int value) { value = pointer(value); sink += value; return value + 1; }

static APART int many(int value)
{
	int a = quiet(1), b = quiet(2), c = quiet(3), d = quiet(4), e = quiet(5), f = quiet(6);
	int g = quiet(7), h = quiet(8), i = quiet(9), j = leaf(value);

	return a * b + c * d + e * f + g * h + i * j + value;
}

int main(int count, char **words)
{
	char text[16] = "text";
	int (*volatile called)(int) = itself;
	int mode = count > 1 ? atoi(words[1]) : 0;

	switch (mode) {
	case 0: sink += called(count); break;
	case 1: sink += behind_a_trap(count); break;
	case 2: sink += behind_what_gives_up(count); break;
	case 3: sink += points(text, count); break;
	case 4: sink += points(text, count + 20); break;
	case 5: sink += room(count); break;
	case 6: sink += much(count); break;
	case 7: sink += several(3, count, 2, 1); break;
	case 8: sink += sorts(count); break;
	case 9: sink += wide(count * 123456789012LL, count + 7777777LL, count); break;
	case 10: sink += nobody(count); break;
	case 11: sink += many(count); break;
	}
	return sink + calls(mode);
}
