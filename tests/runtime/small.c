/* SPDX-License-Identifier: Apache-2.0 */
/* What a microcontroller would run: the runtime without threads and mapped files.
 *
 * usage: small FILE PIXELS CLASSES POPULATIONS
 *
 * Reads images of PIXELS floats from standard input.  Writes CLASSES floats per image to standard output: the answer of
 * bnn_run, then that of the event engine. */
#include "bnn.h"
#include "bnn_events.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST = 1 << 20 };

static unsigned char arena[1 << 24];
static size_t used;

static void *allocate(size_t size)
{
    size_t first = ((size_t)arena + used + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT - (size_t)arena;
    used = first + size;
    if (used > sizeof arena)
        exit(3);
    return arena + first;
}

static void want(bnn_status status)
{
    if (status != BNN_OK) {
        fprintf(stderr, "%s\n", bnn_status_text(status));
        exit(1);
    }
}

static void *contents(const char *path, size_t *size)
{
    FILE *stream = fopen(path, "rb");
    if (stream == NULL)
        exit(2);
    void *file = allocate(MOST);
    *size = fread(file, 1, MOST, stream);
    fclose(stream);
    return file;
}

int main(int argc, char **argv)
{
    static float image[MOST], answer[MOST];
    if (argc != 5)
        return 2;
    size_t size, network_size, pixels = (size_t)atoi(argv[2]), classes = (size_t)atoi(argv[3]), bytes;
    void *file = contents(argv[1], &size), *populations = contents(argv[4], &network_size);

    bnn_model *model;
    bnn_context *context;
    bnn_snn *network;
    bnn_events *engine;
    const bnn_kernels *kernels = bnn_kernels_select(NULL);
    want(bnn_model_size(file, size, kernels, &bytes, NULL));
    want(bnn_model_open(file, size, kernels, allocate(bytes), bytes, &model, NULL));
    want(bnn_context_size(model, 1, 1, &bytes));
    want(bnn_context_create(model, 1, 1, allocate(bytes), bytes, &context));
    want(bnn_snn_size(populations, network_size, kernels, &bytes, NULL));
    want(bnn_snn_open(populations, network_size, kernels, allocate(bytes), bytes, &network, NULL));
    want(bnn_events_size(model, network, &bytes));
    want(bnn_events_create(model, network, allocate(bytes), bytes, NULL, NULL, &engine, NULL));
    while (fread(image, sizeof *image, pixels, stdin) == pixels) {
        const void *inputs[] = {image};
        const float *frame[] = {image};
        float *outputs[] = {answer};
        want(bnn_run(context, inputs, outputs, 1));
        fwrite(answer, sizeof *answer, classes, stdout);
        want(bnn_events_frame(engine, frame));
        want(bnn_events_run(engine));
        want(bnn_events_output(engine, 0, answer));
        fwrite(answer, sizeof *answer, classes, stdout);
    }
    return 0;
}
