/* SPDX-License-Identifier: Apache-2.0 */
#include <bnn.h>
#include <bnn_host.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIXELS = 8 * 8, CLASSES = 10 };

static const char *path;
static bnn_problem problem; /* what is wrong with a file, and where */

/* If this does not hold, the program ends with a line that says so. */
static void need(int holds, const char *where, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s: %s%s%s\n", where, what, *problem.what ? ": " : "", problem.what);
        exit(1);
    }
}

static void check(bnn_status status)
{
    need(status == BNN_OK, path, bnn_status_text(status));
}

static void *allocate(size_t bytes)
{
    return aligned_alloc(BNN_ALIGNMENT, (bytes + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT);
}

static bnn_dtype type(const bnn_model *model, uint32_t tensor, size_t *elements)
{
    bnn_tensor_info info;
    check(bnn_get_tensor(model, tensor, &info));
    *elements = 1;
    for (uint32_t i = 0; i < info.rank; i++)
        *elements *= info.dims[i];
    return info.dtype;
}

/* The arrays of `main` must have the sizes of the network's. */
static void check_sizes(const bnn_model *model)
{
    char text[120];
    size_t in, out;
    int floats = type(model, bnn_input_tensor(model, 0), &in) == BNN_F32;
    (void)type(model, bnn_output_tensor(model, 0), &out);
    snprintf(text, sizeof text, "reads %zu %s and gives %zu floats; this program is for %d floats and %d", in,
             floats ? "floats" : "bytes", out, PIXELS, CLASSES);
    need(bnn_input_count(model) == 1 && bnn_output_count(model) == 1, path, "has more than one input or output");
    need(floats && in == PIXELS && out == CLASSES, path, text);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s NET.bnn < IMAGE: 64 numbers from 0 to 1\n", argv[0]);
        return 2;
    }
    path = argv[1];
    bnn_mapping file;
    bnn_model *model;
    bnn_context *context;
    const bnn_kernels *kernels = bnn_kernels_select(NULL);
    size_t bytes;
    bnn_status mapped = bnn_file_map(path, &file);
    need(mapped == BNN_OK, path, strerror(file.error));
    check(bnn_model_size(file.data, file.size, kernels, &bytes, &problem));
    check(bnn_model_open(file.data, file.size, kernels, allocate(bytes), bytes, &model, &problem));
    check_sizes(model);
    check(bnn_context_size(model, 1, 1, &bytes)); /* for one image at a time, on one thread */
    check(bnn_context_create(model, 1, 1, allocate(bytes), bytes, &context));

    float image[PIXELS], probabilities[CLASSES], pixel;
    size_t found = 0;
    for (; scanf("%f", &pixel) == 1; found++)
        if (found < PIXELS)
            image[found] = pixel;
    need(found == PIXELS && feof(stdin), "the image", "expected 64 numbers from 0 to 1, and nothing else");
    check(bnn_run(context, (const void *[]){image}, (float *[]){probabilities}, 1));
    for (size_t i = 0; i < CLASSES; i++)
        printf("%zu %.9g\n", i, (double)probabilities[i]);
    return 0;
}
