/* Functions with frames of many kinds, for comparing unwind tables: compiled, never run. */

extern int take(void *buffer, int value);
extern double measure(double value);
extern void stop(void) __attribute__((noreturn));

static void undo(int *value) { take(value, *value); }

int leaf(int value) { return value * 3 + 1; }

int plain(int value) { return take(&value, value) + 1; }

int many(int a, int b, int c, int d)
{
	int e = take(&a, b), f = take(&b, c), g = take(&c, d), h = take(&d, a), i = take(&a, e);

	for (int round = 0; round < a; round++)
		e += take(&e, f + g) * take(&f, h + i) + round;
	return a + b + c + d + e + f + g + h + i;
}

int large(int value)
{
	char buffer[70000];

	return take(buffer, value) + buffer[value];
}

int middling(int value)
{
	char buffer[1500];

	return take(buffer, value) + buffer[value];
}

int stacked(int value)
{
	char *buffer = __builtin_alloca(value);

	return take(buffer, value) + take(buffer + 1, value);
}

double doubles(double a, double b, double c, int count)
{
	double d = measure(a), e = measure(b), f = measure(c);

	while (count--)
		d += measure(e) * f - measure(d) * a * b * c;
	return d + e + f;
}

int cleaned(int value)
{
	int kept __attribute__((cleanup(undo))) = value;

	return take(&kept, value) + take(&value, kept);
}

int variadic(int count, ...)
{
	__builtin_va_list list;
	int sum = 0;

	__builtin_va_start(list, count);
	while (count--)
		sum += take(&sum, __builtin_va_arg(list, int));
	__builtin_va_end(list);
	return sum;
}

int early(int value)
{
	if (value < 0)
		return -1;
	if (take(&value, 1))
		return take(&value, 2) + value;
	switch (take(&value, 3)) {
	case 1: return plain(value);
	case 2: return many(value, 1, 2, 3) + 1;
	case 3: stop();
	}
	return take(&value, 4) - value;
}

int tail(int value) { return take(0, value); }

void never(int value) { take(&value, value); stop(); }

int __attribute__((aligned(64))) aligned(int value)
{
	char buffer[64] __attribute__((aligned(64)));

	return take(buffer, value) + take(buffer + 1, value);
}
