/* Functions with every kind of prologue that compilers make; nothing of it is ever executed. */
typedef __builtin_va_list va_list;
typedef unsigned long size_t;

volatile int sink;
int (*volatile hook)(int);
void *volatile pointer;

void *memcpy(void *to, const void *from, size_t size)
{
	char *t = to;
	const char *f = from;
	while (size--) {
		*t++ = *f++;
		__asm__ volatile("");
	}
	return to;
}

void *memset(void *to, int byte, size_t size)
{
	char *t = to;
	while (size--) {
		*t++ = byte;
		__asm__ volatile("");
	}
	return to;
}

#define FAR __attribute__((noinline, noclone))

FAR int leaf(int a, int b) { return a * 31 + (b ^ sink); }
FAR int one(int a) { int b = hook(a); return b + leaf(a, b); }
FAR void never(void) { for (;;) sink++; }
FAR __attribute__((noreturn)) void stop(int a) { hook(a); sink = a; for (;;) hook(sink); }

FAR int many(int a, int b, int c, int d)
{
	int e = hook(a), f = hook(b), g = hook(c), h = hook(d);
	int i = leaf(e, f), j = leaf(g, h), k = one(i), l = one(j);
	return one(e + f) + leaf(g + h, i + j) + hook(k + l) + e * f + g * h + i * j + k * l + a + b + c + d;
}

FAR int early(int *p)
{
	if (!p)
		return -1;
	if (*p == sink)
		return hook(*p) + 1;
	hook(p[1]);
	return one(p[2]);
}

FAR int tail(int a) { return a > 3 ? one(a + 1) : early(pointer); }
FAR int tails(int a) { hook(a); return many(a, sink, a + 1, 7); }
FAR int through(int a) { sink = one(a); return hook(a); }

FAR int dynamic(int count)
{
	char *p = __builtin_alloca(count);
	pointer = p;
	p[0] = hook(count);
	if (p[0])
		one(p[0]);
	return hook(p[count - 1]);
}

FAR int arrays(int count)
{
	int total = 0;
	for (int i = 0; i < count; i++) {
		int a[i + 1];
		pointer = a;
		total += hook(i) + a[0];
	}
	return total + one(total);
}

FAR int large(int a)
{
	char buffer[5000];
	pointer = buffer;
	hook(a);
	if (a == 3)
		return one(buffer[a]);
	memset(buffer, a, sizeof buffer);
	return hook(buffer[a + 1]) + one(buffer[17]);
}

FAR int huge(int a)
{
	char buffer[70000], other[40000];
	pointer = buffer;
	hook(a);
	pointer = other;
	return hook(buffer[a]) + one(other[a]);
}

FAR int variadic(int count, ...)
{
	va_list list;
	int total = 0;
	__builtin_va_start(list, count);
	while (count--)
		total += hook(__builtin_va_arg(list, int));
	__builtin_va_end(list);
	return total;
}

FAR int switches(int a, int b)
{
	switch (a) {
	case 0: return hook(b);
	case 1: return one(b) + 1;
	case 2: sink = b; return hook(b + 2);
	case 3: return leaf(a, one(b));
	case 4: return variadic(3, a, b, sink);
	case 5: hook(1); hook(2); return hook(3) * 5;
	case 6: return many(1, 2, 3, b);
	case 7: stop(b);
	case 8: one(9); break;
	default: return -1;
	}
	hook(a + b);
	return one(b);
}

FAR int loops(int *p, int count)
{
	int total = 0;
	for (int i = 0; i < count; i++) {
		if (p[i] < 0)
			continue;
		while (hook(p[i]))
			total += one(p[i]++);
		if (total > 1000) {
			if (p[i] == 7)
				return hook(total);
			break;
		}
	}
	return total ? leaf(total, hook(total)) : 0;
}

FAR double floats(double a, double b)
{
	double c = hook(1) * a, d = hook(2) * b, e = a * b;
	for (int i = 0; i < 10; i++)
		c += d * hook(i), e -= c;
	return c + d + e + a + b + hook(3);
}

FAR int recursive(int n) { return n < 2 ? hook(n) : recursive(n - 1) + recursive(n - 2); }

struct block { int a[40]; };
FAR struct block by_value(struct block b, int x) { b.a[x] = hook(b.a[0]); return b; }
FAR int uses_block(int x)
{
	struct block b = { { 1, 2, 3 } };
	b = by_value(b, x);
	return b.a[x] + hook(b.a[2]);
}

FAR int nine(int a, int b, int c, int d, int e, int f, int g, int h, int i)
{
	return hook(a + b) + hook(c + d) + hook(e + f) + hook(g + h) + hook(i) + a * c * e * g * i;
}

FAR int passes(int a) { return nine(a, 1, 2, 3, 4, 5, 6, 7, hook(a)) + hook(a); }

FAR void fails(int a)
{
	if (a > 7)
		stop(hook(a));
	if (hook(a + 1))
		stop(3);
	hook(a);
	stop(a);
}

FAR long long wide(long long a, long long b)
{
	long long c = a * b + hook(1);
	return c > b ? c + hook((int)a) : a - hook((int)(c >> 32));
}

int entry(int a)
{
	never();
	fails(a);
	return tail(a) + tails(a) + through(a) + dynamic(a) + arrays(a) + large(a) + huge(a)
		+ switches(a, a) + loops(pointer, a) + (int)floats(a, 2) + recursive(a)
		+ uses_block(a) + passes(a) + (int)wide(a, 5);
}
