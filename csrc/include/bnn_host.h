/* SPDX-License-Identifier: Apache-2.0 */
/* Additions to bnn.h for a host with files and threads: POSIX and C11 atomics.  Optional: microcontrollers leave out
 * csrc/host. */
#ifndef BNN_HOST_H
#define BNN_HOST_H

#include "bnn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A file mapped read-only.  The mapping follows the file, which must not be truncated or rewritten while it is in use
 * (to replace it, rename another file over it). */
typedef struct bnn_mapping {
    const void *data; /* never NULL once mapped; aligned to a page */
    size_t size;      /* may be 0 */
    int error;        /* errno of the call that failed; 0 after BNN_OK */
} bnn_mapping;

/* BNN_ERROR_IO with mapping->error set if the file cannot be opened or mapped, or is not a regular file. */
bnn_status bnn_file_map(const char *path, bnn_mapping *mapping);
void bnn_file_unmap(bnn_mapping *mapping);

/* Threads that sleep until there is work.  `threads` includes the thread that calls bnn_pool_run: a pool of 1 starts
 * none. */
typedef struct bnn_pool bnn_pool;
bnn_status bnn_pool_create(size_t threads, bnn_pool **pool);
/* No bnn_pool_run may be running.  NULL is allowed. */
void bnn_pool_destroy(bnn_pool *pool);
size_t bnn_pool_threads(const bnn_pool *pool);

/* A bnn_parallel_for; pool is a bnn_pool.  Workers are numbered below bnn_pool_threads (the caller is 0), so a context
 * that uses it must have at least that many workers.  Every index is run exactly once.  If the pool is busy with
 * another thread's call, or is called from inside a task, everything runs on the calling thread. */
void bnn_pool_run(void *pool, bnn_task *task, void *argument, size_t count);

#ifdef __cplusplus
}
#endif
#endif
