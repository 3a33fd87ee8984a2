/* SPDX-License-Identifier: Apache-2.0 */
/* A user's program: opens the model and the populations that it is given, runs it on an image from standard input by two threads, runs it
 * event by event, and prints both results. */
#include "bnn.h"
#include "bnn_events.h"
#include "bnn_host.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST = 4096 };

static void *allocate(size_t size)
{
    void *memory = aligned_alloc(BNN_ALIGNMENT, (size + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT);
    if (memory == NULL)
        exit(3);
    return memory;
}

static void want(bnn_status status)
{
    if (status != BNN_OK) {
        fprintf(stderr, "%s\n", bnn_status_text(status));
        exit(1);
    }
}

static void print(const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        printf("%a ", (double)values[i]);
    printf("\n");
}

int main(int argc, char **argv)
{
    static float image[MOST], result[MOST];
    const void *inputs[] = {image};
    const float *frame[] = {image};
    float *outputs[] = {result};
    size_t bytes, count = fread(image, sizeof *image, MOST, stdin), classes = argc > 3 ? (size_t)atoi(argv[3]) : 0;
    if (argc != 4 || count == 0 || classes > MOST)
        return 2;

    bnn_mapping file;
    bnn_model *model;
    want(bnn_file_map(argv[1], &file));
    want(bnn_model_size(file.data, file.size, bnn_kernels_select(NULL), &bytes, NULL));
    want(bnn_model_open(file.data, file.size, bnn_kernels_select(NULL), allocate(bytes), bytes, &model, NULL));

    bnn_context *context;
    bnn_pool *pool;
    want(bnn_context_size(model, 1, 2, &bytes));
    want(bnn_context_create(model, 1, 2, allocate(bytes), bytes, &context));
    want(bnn_pool_create(2, &pool));
    bnn_context_set_threads(context, bnn_pool_run, pool);
    want(bnn_run(context, inputs, outputs, 1));
    print(result, classes);

    bnn_mapping populations;
    bnn_snn *network;
    bnn_events *engine;
    want(bnn_file_map(argv[2], &populations));
    want(bnn_snn_size(populations.data, populations.size, bnn_kernels_select(NULL), &bytes, NULL));
    want(bnn_snn_open(populations.data, populations.size, bnn_kernels_select(NULL), allocate(bytes), bytes, &network,
                      NULL));
    want(bnn_events_size(model, network, &bytes));
    want(bnn_events_create(model, network, allocate(bytes), bytes, NULL, NULL, &engine, NULL));
    want(bnn_events_frame(engine, frame));
    want(bnn_events_run(engine));
    want(bnn_events_output(engine, 0, result));
    print(result, classes);

    bnn_pool_destroy(pool);
    bnn_file_unmap(&populations);
    bnn_file_unmap(&file);
    return 0;
}
