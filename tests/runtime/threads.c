/* SPDX-License-Identifier: Apache-2.0 */
/* The thread pool: every index exactly once, whoever calls and however often; and models shared by threads. */
#define _POSIX_C_SOURCE 200809L

#include "driver.h"

#include <pthread.h>
#include <stdatomic.h>

enum { MAX_TASKS = 300, MAX_CALLERS = 64 };

struct marks {
    size_t threads;
    atomic_int times[MAX_TASKS];
    atomic_int inside[8]; /* tasks that each worker is running */
};

static void mark(void *argument, size_t index, size_t worker)
{
    struct marks *m = argument;
    CHECK(worker < m->threads, "worker %zu of %zu", worker, m->threads);
    CHECK(atomic_fetch_add(&m->inside[worker], 1) == 0, "two tasks of worker %zu at once", worker);
    atomic_fetch_add(&m->times[index], 1);
    atomic_fetch_sub(&m->inside[worker], 1);
}

static void run_jobs(bnn_pool *pool, size_t jobs)
{
    struct marks *m = block(sizeof *m);
    m->threads = bnn_pool_threads(pool);
    for (size_t job = 0; job < jobs; job++) {
        size_t count = job * 7 % MAX_TASKS;
        for (size_t i = 0; i < MAX_TASKS; i++)
            atomic_init(&m->times[i], 0);
        for (size_t i = 0; i < 8; i++)
            atomic_init(&m->inside[i], 0);
        bnn_pool_run(pool, mark, m, count);
        for (size_t i = 0; i < MAX_TASKS; i++) {
            CHECK(atomic_load(&m->times[i]) == (i < count), "job %zu of %zu tasks: index %zu ran %d times", job, count,
                  i, atomic_load(&m->times[i]));
        }
    }
    free(m);
}

static void *call_pool(void *pool)
{
    run_jobs(pool, 500);
    return NULL;
}

struct shared {
    const bnn_model *model;
    bnn_pool *pool;
};

/* A context of its own on a shared model and a shared pool: always the same result. */
static void *call_model(void *argument)
{
    const struct shared *s = argument;
    enum { BATCH = 9 };
    size_t bytes, in_floats = BATCH * image_floats(s->model, bnn_input_tensor(s->model, 0));
    size_t out_floats = BATCH * image_floats(s->model, bnn_output_tensor(s->model, 0));
    CHECK(bnn_context_size(s->model, 2, bnn_pool_threads(s->pool), &bytes) == BNN_OK, "context size");
    void *memory = block(bytes);
    float *in = block(in_floats * sizeof *in), *out = block(out_floats * sizeof *out);
    float *first = block(out_floats * sizeof *first);
    for (size_t i = 0; i < in_floats; i++)
        in[i] = (float)(i * 37 % 23) - 11.0f;
    bnn_context *context;
    CHECK(bnn_context_create(s->model, 2, bnn_pool_threads(s->pool), memory, bytes, &context) == BNN_OK, "context");
    bnn_context_set_threads(context, bnn_pool_run, s->pool);
    for (int k = 0; k < 30; k++) {
        CHECK(bnn_run(context, (const void *const *)&in, k == 0 ? &first : &out, BATCH) == BNN_OK, "run");
        CHECK(k == 0 || memcmp(first, out, out_floats * sizeof *out) == 0, "another result in run %d", k);
    }
    free(first);
    free(out);
    free(in);
    free(memory);
    return NULL;
}

static void call_together(size_t callers, void *(*function)(void *), void *argument)
{
    pthread_t threads[MAX_CALLERS];
    for (size_t i = 0; i < callers; i++)
        CHECK(pthread_create(&threads[i], NULL, function, argument) == 0, "thread");
    for (size_t i = 0; i < callers; i++)
        pthread_join(threads[i], NULL);
}

int threads(const char *path, size_t callers)
{
    CHECK(callers <= MAX_CALLERS, "%zu callers, at most %d", callers, MAX_CALLERS);
    size_t size;
    unsigned char *file = read_file(path, &size);
    CHECK(file != NULL, "cannot read %s", path);
    struct opened o = open_model(file, size, bnn_kernels_select(NULL));
    bnn_pool *pool;
    CHECK(bnn_pool_create(0, &pool) == BNN_ERROR_ARGUMENT && pool == NULL, "a pool of 0");
    for (size_t n = 1; n <= 5; n++) {
        CHECK(bnn_pool_create(n, &pool) == BNN_OK && bnn_pool_threads(pool) == n, "a pool of %zu", n);
        run_jobs(pool, 300);
        call_together(3, call_pool, pool);
        struct shared shared = {o.model, pool};
        call_together(callers, call_model, &shared);
        bnn_pool_destroy(pool);
    }
    bnn_pool_destroy(NULL);
    free(o.memory);
    free(file);
    return 0;
}
