// Something to find by address: functions in namespaces, in one another, and from another file.
#include <cstdlib>

namespace router {

struct Table {
    int size;
    __attribute__((noinline)) int look_up(volatile int *where) const;
};

static inline __attribute__((always_inline)) int deepest(volatile int *where) {
    int value = *where;
    return value * 3;
}

static inline __attribute__((always_inline)) int middle(volatile int *where) {
    return deepest(where) + 1;
}

int Table::look_up(volatile int *where) const {
    int found = middle(where);
    return found + size;
}

}  // namespace router

static __attribute__((noinline)) int plain(volatile int *where) {
    router::Table table = {7};
    int found = table.look_up(where);
    return found ^ std::abs(found);
}

extern "C" int entry(volatile int *where) {
    int found = plain(where);
    return found + 1;
}
