/* A pool of threads that sleep until there is work. */
#define _POSIX_C_SOURCE 200809L

#include "host.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct worker {
    struct bnn_pool *pool;
    size_t number;
    pthread_t thread;
};

struct bnn_pool {
    size_t threads;
    atomic_flag busy;      /* a call of bnn_pool_run is going on */
    pthread_mutex_t mutex; /* of what follows, but for next */
    pthread_cond_t work, done;
    int stop;
    uint64_t job;   /* counts them, so that a thread joins each at most once */
    bnn_task *task; /* NULL: between jobs, or the job can no longer be joined */
    void *argument;
    size_t count;
    size_t joined;           /* threads inside the job, without the caller */
    atomic_size_t next;      /* the first index that nobody has claimed */
    struct worker workers[]; /* threads - 1 */
};

/* Claims indices until none is left. */
static void work_on(bnn_pool *pool, bnn_task *task, void *argument, size_t count, size_t worker)
{
    for (;;) {
        size_t index = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (index >= count) {
            return;
        }
        task(argument, index, worker);
    }
}

static void *thread_main(void *argument)
{
    struct worker *w = argument;
    bnn_pool *pool = w->pool;
    uint64_t seen = 0;
    pthread_mutex_lock(&pool->mutex);
    while (!pool->stop) {
        if (pool->job == seen || pool->task == NULL) {
            pthread_cond_wait(&pool->work, &pool->mutex);
            continue;
        }
        seen = pool->job;
        bnn_task *task = pool->task;
        void *task_argument = pool->argument;
        size_t count = pool->count;
        pool->joined++;
        pthread_mutex_unlock(&pool->mutex);
        work_on(pool, task, task_argument, count, w->number);
        pthread_mutex_lock(&pool->mutex);
        if (--pool->joined == 0) {
            pthread_cond_signal(&pool->done);
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

bnn_status bnn_pool_create(size_t threads, bnn_pool **pool)
{
    if (pool == NULL) {
        return BNN_ERROR_ARGUMENT;
    }
    *pool = NULL;
    if (threads == 0 || threads > 65536) {
        return BNN_ERROR_ARGUMENT;
    }
    bnn_pool *p = calloc(1, sizeof *p + (threads - 1) * sizeof *p->workers);
    if (p == NULL) {
        return BNN_ERROR_THREAD;
    }
    atomic_flag_clear(&p->busy);
    atomic_init(&p->next, 0);
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
        struct worker *w = &p->workers[p->threads - 1];
        w->pool = p;
        w->number = p->threads;
        if (pthread_create(&w->thread, NULL, thread_main, w) != 0) {
            bnn_pool_destroy(p); /* those that were started */
            return BNN_ERROR_THREAD;
        }
    }
    *pool = p;
    return BNN_OK;
}

void bnn_pool_destroy(bnn_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->stop = 1;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 1; i < pool->threads; i++) {
        pthread_join(pool->workers[i - 1].thread, NULL);
    }
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

size_t bnn_pool_threads(const bnn_pool *pool)
{
    return pool->threads;
}

void bnn_pool_run(void *pool, bnn_task *task, void *argument, size_t count)
{
    bnn_pool *p = pool;
    if (count <= 1 || p->threads == 1 || atomic_flag_test_and_set(&p->busy)) {
        for (size_t i = 0; i < count; i++) {
            task(argument, i, 0);
        }
        return;
    }
    pthread_mutex_lock(&p->mutex);
    p->task = task;
    p->argument = argument;
    p->count = count;
    p->job++;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    if (count >= p->threads) {
        pthread_cond_broadcast(&p->work);
    } else {
        for (size_t i = 1; i < count; i++) {
            pthread_cond_signal(&p->work);
        }
    }
    pthread_mutex_unlock(&p->mutex);

    work_on(p, task, argument, count, 0);

    pthread_mutex_lock(&p->mutex);
    p->task = NULL; /* every index is claimed: who wakes only now finds nothing */
    while (p->joined != 0) {
        pthread_cond_wait(&p->done, &p->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
    atomic_flag_clear(&p->busy);
}
