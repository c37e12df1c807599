/* Something to find by address: functions in one another, one of them in two places. */

static inline __attribute__((always_inline)) int deepest(volatile int *where)
{
    int value = *where;
    return value * 3;
}

static inline __attribute__((always_inline)) int middle(volatile int *where)
{
    return deepest(where) + 1;
}

static __attribute__((noinline)) int look_up(volatile int *where)
{
    int found = middle(where);
    if (found > 7)
        found += deepest(where + 1);
    return found;
}

static __attribute__((noinline)) int plain(volatile int *where)
{
    int found = look_up(where);
    return found ^ *where;
}

int entry(volatile int *where)
{
    int found = plain(where);
    return found + 1;
}
