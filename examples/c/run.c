/* SPDX-License-Identifier: Apache-2.0 */
#include <bnn.h>
#include <bnn_host.h>
#include <stdio.h>
#include <stdlib.h>

static bnn_problem problem; /* what is wrong with a file, and where */

static void check(bnn_status status)
{
    if (status != BNN_OK) {
        fprintf(stderr, "%s %s\n", bnn_status_text(status), problem.what);
        exit(1);
    }
}

static void *allocate(size_t bytes)
{
    return aligned_alloc(BNN_ALIGNMENT, (bytes + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s NET.bnn < IMAGE: 64 numbers from 0 to 1\n", argv[0]);
        return 2;
    }
    float image[8 * 8], probabilities[10];
    for (size_t i = 0; i < 8 * 8; i++)
        check(scanf("%f", &image[i]) == 1 ? BNN_OK : BNN_ERROR_ARGUMENT);

    bnn_mapping file;
    bnn_model *model;
    bnn_context *context;
    const bnn_kernels *kernels = bnn_kernels_select(NULL);
    size_t bytes;
    check(bnn_file_map(argv[1], &file));
    check(bnn_model_size(file.data, file.size, kernels, &bytes, &problem));
    check(bnn_model_open(file.data, file.size, kernels, allocate(bytes), bytes, &model, &problem));
    check(bnn_context_size(model, 1, 1, &bytes)); /* for one image at a time, on one thread */
    check(bnn_context_create(model, 1, 1, allocate(bytes), bytes, &context));

    check(bnn_run(context, (const void *[]){image}, (float *[]){probabilities}, 1));
    for (size_t i = 0; i < 10; i++)
        printf("%zu %.9g\n", i, (double)probabilities[i]);
    return 0;
}
