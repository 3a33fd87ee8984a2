/* SPDX-License-Identifier: Apache-2.0 */
/* A pool of threads that sleep until there is work.
 *
 * Waking a sleeping thread takes longer than most layers of a network.  So a thread that has just worked polls for the
 * next job for some tens of microseconds before it sleeps, and the caller polls for the last thread to finish.  Each
 * worker begins with its own share of the indices, always the same part, so that its caches hold what it wrote in the
 * previous job; then it helps the others. */
#define _POSIX_C_SOURCE 200809L

#include "bnn_host.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SPINS = 1500 }; /* of 15 to 40 nanoseconds each */

struct worker {
    struct bnn_pool *pool;
    size_t number;
    pthread_t thread;
    atomic_size_t next; /* the first unclaimed index of its share */
    size_t end;         /* of its share; written with the pool's mutex held, while no thread is in a job */
    char apart[64];     /* on separate cache lines, because every thread increments every counter */
};

struct bnn_pool {
    size_t threads;
    atomic_flag busy;      /* a call of bnn_pool_run is running */
    pthread_mutex_t mutex; /* protects what follows; the atomics may be read without it */
    pthread_cond_t work, done;
    int stop;
    atomic_uint_fast64_t job; /* counts jobs, so that a thread joins each at most once */
    bnn_task *task;           /* NULL: between jobs, or the job can no longer be joined */
    void *argument;
    atomic_size_t joined;    /* threads in the job, without the caller */
    struct worker workers[]; /* threads; the first is the caller's */
};

/* Claims indices until none is left. */
static void work_on(bnn_pool *pool, bnn_task *task, void *argument, size_t worker)
{
    for (size_t k = 0; k < pool->threads; k++) {
        struct worker *w = &pool->workers[(worker + k) % pool->threads];
        size_t index;
        while ((index = atomic_fetch_add_explicit(&w->next, 1, memory_order_relaxed)) < w->end)
            task(argument, index, worker);
    }
}

static void pause_shortly(void)
{
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
    __builtin_ia32_pause();
#elif defined(__GNUC__) && defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* Whether a job other than `seen` appeared while it was worth waiting awake. */
static int job_turned_up(bnn_pool *pool, uint_fast64_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool->job, memory_order_relaxed) != seen)
            return 1;
        pause_shortly();
    }
    return 0;
}

/* The mutex is held for nanoseconds: sleeping on it would cost a thousand times as much. */
static void lock(bnn_pool *pool)
{
    for (int i = 0; i < SPINS; i++) {
        if (pthread_mutex_trylock(&pool->mutex) == 0)
            return;
        pause_shortly();
    }
    pthread_mutex_lock(&pool->mutex);
}

static void *thread_main(void *argument)
{
    struct worker *w = argument;
    bnn_pool *pool = w->pool;
    uint_fast64_t seen = 0;
    int awake = 0; /* it has just worked */
    lock(pool);
    while (!pool->stop) {
        if (pool->job == seen || pool->task == NULL) {
            seen = pool->job; /* the job can no longer be joined */
            if (awake) {
                pthread_mutex_unlock(&pool->mutex);
                awake = job_turned_up(pool, seen);
                lock(pool);
            } else {
                pthread_cond_wait(&pool->work, &pool->mutex);
            }
            continue;
        }
        seen = pool->job;
        bnn_task *task = pool->task;
        void *task_argument = pool->argument;
        pool->joined++;
        pthread_mutex_unlock(&pool->mutex);
        work_on(pool, task, task_argument, w->number);
        lock(pool);
        awake = 1;
        if (--pool->joined == 0)
            pthread_cond_signal(&pool->done);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

bnn_status bnn_pool_create(size_t threads, bnn_pool **pool)
{
    if (pool == NULL)
        return BNN_ERROR_ARGUMENT;
    *pool = NULL;
    if (threads == 0 || threads > 65536)
        return BNN_ERROR_ARGUMENT;
    bnn_pool *p = calloc(1, sizeof *p + threads * sizeof *p->workers);
    if (p == NULL)
        return BNN_ERROR_THREAD;
    atomic_flag_clear(&p->busy);
    atomic_init(&p->job, 0);
    atomic_init(&p->joined, 0);
    if (pthread_mutex_init(&p->mutex, NULL) != 0) {
        free(p);
        return BNN_ERROR_THREAD;
    }
    if (pthread_cond_init(&p->work, NULL) != 0) {
        pthread_mutex_destroy(&p->mutex);
        free(p);
        return BNN_ERROR_THREAD;
    }
    if (pthread_cond_init(&p->done, NULL) != 0) {
        pthread_cond_destroy(&p->work);
        pthread_mutex_destroy(&p->mutex);
        free(p);
        return BNN_ERROR_THREAD;
    }
    for (p->threads = 1; p->threads < threads; p->threads++) {
        struct worker *w = &p->workers[p->threads];
        w->pool = p;
        w->number = p->threads;
        if (pthread_create(&w->thread, NULL, thread_main, w) != 0) {
            bnn_pool_destroy(p); /* the threads that were started */
            return BNN_ERROR_THREAD;
        }
    }
    *pool = p;
    return BNN_OK;
}

void bnn_pool_destroy(bnn_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->stop = 1;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 1; i < pool->threads; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

size_t bnn_pool_threads(const bnn_pool *pool)
{
    return pool->threads;
}

/* count * i / threads without an overflow. */
static size_t share_begin(size_t count, size_t i, size_t threads)
{
    return count / threads * i + count % threads * i / threads;
}

void bnn_pool_run(void *pool, bnn_task *task, void *argument, size_t count)
{
    bnn_pool *p = pool;
    if (count <= 1 || p->threads == 1 || atomic_flag_test_and_set(&p->busy)) {
        for (size_t i = 0; i < count; i++)
            task(argument, i, 0);
        return;
    }
    lock(p);
    p->task = task;
    p->argument = argument;
    for (size_t i = 0; i < p->threads; i++) {
        size_t begin = share_begin(count, i, p->threads);
        atomic_store_explicit(&p->workers[i].next, begin, memory_order_relaxed);
        p->workers[i].end = share_begin(count, i + 1, p->threads);
    }
    p->job++;
    if (count >= p->threads)
        pthread_cond_broadcast(&p->work);
    else
        for (size_t i = 1; i < count; i++)
            pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->mutex);

    work_on(p, task, argument, 0);

    lock(p);
    p->task = NULL; /* every index is claimed: a thread that wakes only now finds nothing */
    if (p->joined != 0) {
        pthread_mutex_unlock(&p->mutex);
        for (int i = 0; i < SPINS && atomic_load_explicit(&p->joined, memory_order_relaxed) != 0; i++)
            pause_shortly();
        lock(p);
    }
    while (p->joined != 0)
        pthread_cond_wait(&p->done, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
    atomic_flag_clear(&p->busy);
}
