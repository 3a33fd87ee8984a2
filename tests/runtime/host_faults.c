/* SPDX-License-Identifier: Apache-2.0 */
/* What csrc/host does where the system refuses: every call that can fail fails once, as the k-th of all, for every k.
 *
 *     host_faults FILE FOLDER
 *
 * The linker puts the wrappers below in place of the calls (--wrap).  Each counts what is held, so that nothing that
 * was taken may be left, and nothing is given back twice. */
#define _POSIX_C_SOURCE 200809L

#include "bnn_host.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK(condition, ...)                               \
    do {                                                    \
        if (!(condition)) {                                 \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__); \
            fprintf(stderr, __VA_ARGS__);                   \
            fprintf(stderr, "\n");                          \
            exit(1);                                        \
        }                                                   \
    } while (0)

enum { BLOCKS, MUTEXES, CONDITIONS, THREADS, FILES, MAPPINGS, KINDS };

static const char *const names[KINDS] = {"blocks", "mutexes", "conditions", "threads", "files", "mappings"};
static int watching;            /* only then calls are counted, and fail */
static int calls, failing = -1; /* calls so far, and the one that fails */
static int failed;
static int held[KINDS];

/* Whether this call fails. */
static int fails(void)
{
    if (!watching)
        return 0;
    if (calls++ == failing) {
        failed = 1;
        return 1;
    }
    return 0;
}

static void take(int kind)
{
    held[kind] += watching;
}

static void give(int kind)
{
    held[kind] -= watching;
    CHECK(held[kind] >= 0, "%s are given back twice", names[kind]);
}

void *__real_calloc(size_t count, size_t size);
void __real_free(void *block);
int __real_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);
int __real_pthread_mutex_destroy(pthread_mutex_t *mutex);
int __real_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes);
int __real_pthread_cond_destroy(pthread_cond_t *condition);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __real_pthread_join(pthread_t thread, void **result);
int __real_open(const char *path, int flags, ...);
int __real_close(int file);
int __real_fstat(int file, struct stat *status);
void *__real_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset);
int __real_munmap(void *address, size_t size);

void *__wrap_calloc(size_t count, size_t size);
void __wrap_free(void *block);
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex);
int __wrap_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes);
int __wrap_pthread_cond_destroy(pthread_cond_t *condition);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_open(const char *path, int flags, ...);
int __wrap_close(int file);
int __wrap_fstat(int file, struct stat *status);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset);
int __wrap_munmap(void *address, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
    void *block = fails() ? NULL : __real_calloc(count, size);
    if (block != NULL)
        take(BLOCKS);
    return block;
}

void __wrap_free(void *block)
{
    if (block != NULL)
        give(BLOCKS);
    __real_free(block);
}

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    if (fails())
        return EAGAIN;
    take(MUTEXES);
    return __real_pthread_mutex_init(mutex, attributes);
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex)
{
    give(MUTEXES);
    return __real_pthread_mutex_destroy(mutex);
}

int __wrap_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes)
{
    if (fails())
        return EAGAIN;
    take(CONDITIONS);
    return __real_pthread_cond_init(condition, attributes);
}

int __wrap_pthread_cond_destroy(pthread_cond_t *condition)
{
    give(CONDITIONS);
    return __real_pthread_cond_destroy(condition);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    if (fails())
        return EAGAIN;
    take(THREADS);
    return __real_pthread_create(thread, attributes, run, argument);
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    give(THREADS);
    return __real_pthread_join(thread, result);
}

int __wrap_open(const char *path, int flags, ...)
{
    if (fails()) {
        errno = EMFILE;
        return -1;
    }
    int file = __real_open(path, flags);
    if (file >= 0)
        take(FILES);
    return file;
}

int __wrap_close(int file)
{
    give(FILES);
    int result = __real_close(file);
    errno = EBADF; /* what close says of itself must not be taken for the reason */
    return result;
}

int __wrap_fstat(int file, struct stat *status)
{
    if (fails()) {
        errno = EIO;
        return -1;
    }
    return __real_fstat(file, status);
}

void *__wrap_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset)
{
    if (fails()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    take(MAPPINGS);
    return __real_mmap(address, size, protection, flags, file, offset);
}

int __wrap_munmap(void *address, size_t size)
{
    give(MAPPINGS);
    return __real_munmap(address, size);
}

static void count(void *argument, size_t index, size_t worker)
{
    (void)index;
    (void)worker;
    atomic_fetch_add((atomic_int *)argument, 1);
}

/* Each returns whether what was asked for came, and gives all of it back. */

static int use_pool(const char *unused)
{
    (void)unused;
    bnn_pool *pool = (bnn_pool *)&failing; /* no valid pool */
    bnn_status status = bnn_pool_create(5, &pool);
    if (status != BNN_OK) {
        CHECK(status == BNN_ERROR_THREAD && pool == NULL, "status %d", (int)status);
        return 0;
    }
    atomic_int ran;
    atomic_init(&ran, 0);
    bnn_pool_run(pool, count, &ran, 100);
    CHECK(atomic_load(&ran) == 100, "%d of 100 tasks ran", atomic_load(&ran));
    bnn_pool_destroy(pool);
    return 1;
}

static int use_file(const char *path)
{
    bnn_mapping mapping = {&failing, 7, -1};
    bnn_status status = bnn_file_map(path, &mapping);
    if (status != BNN_OK) {
        CHECK(status == BNN_ERROR_IO && mapping.data == NULL && mapping.size == 0, "status %d", (int)status);
        CHECK(mapping.error == EMFILE || mapping.error == EIO || mapping.error == ENOMEM || mapping.error == EISDIR,
              "errno %d", mapping.error);
        return 0;
    }
    CHECK(mapping.error == 0 && mapping.size == 5 && *(const char *)mapping.data == 'h', "not the file");
    bnn_file_unmap(&mapping);
    bnn_file_unmap(&mapping); /* allowed: it holds nothing any more */
    return 1;
}

static void check_nothing_held(const char *what)
{
    for (int kind = 0; kind < KINDS; kind++)
        CHECK(held[kind] == 0, "%s, call %d failed: %d %s are left", what, failing, held[kind], names[kind]);
}

/* How many calls failed in turn, before one more than there are did not. */
static int fail_each(const char *what, int (*use)(const char *), const char *path)
{
    for (failing = 0;; failing++) {
        calls = failed = 0;
        watching = 1;
        int done = use(path);
        watching = 0;
        check_nothing_held(what);
        CHECK(done == !failed, "%s, call %d: %s", what, failing, done ? "a failure was overlooked" : "failed alone");
        if (!failed)
            return failing;
    }
}

int main(int argc, char **argv)
{
    CHECK(argc == 3, "expected FILE FOLDER");
    int pool = fail_each("pool", use_pool, NULL), file = fail_each("file", use_file, argv[1]);
    watching = 1;
    failing = -1;
    CHECK(!use_file(argv[2]), "a folder was mapped");
    check_nothing_held("folder");
    printf("pool %d, file %d\n", pool, file);
    return 0;
}
