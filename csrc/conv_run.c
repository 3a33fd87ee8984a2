/* Running a convolution: picks rows of one border class, gathers their pixels into chunks, hands them to a kernel.
 *
 * A kernel takes a pointer for each pixel, so a chunk runs across rows and images: small images fill tiles, and a
 * dense layer treats the images of a micro-batch as pixels and reads its weights once for all of them. */
#include "conv.h"

enum { MAX_CHUNK = 64 };

/* In a worker's scratch memory: the pixels of one chunk.  All pointers are those of the current group's channel 0. */
struct chunk {
    union {
        const uint32_t *words[MAX_CHUNK];
        const float *values[MAX_CHUNK];
    } a;
    const int32_t *table[MAX_CHUNK];
    uint32_t *bits[MAX_CHUNK];   /* where a kernel writes bits: the output, or staged */
    uint32_t *output[MAX_CHUNK]; /* the output's own words, where bits are staged */
    float *values[MAX_CHUNK];
    const float *residual[MAX_CHUNK];
    size_t image[MAX_CHUNK];
    uint32_t staged[]; /* [MAX_CHUNK][words of a group]: groups that do not begin on a word */
};

struct job {
    const struct bnn_run *run;
    const struct bnn_conv *conv;
    const struct bnn_kernels *kernels;
    struct chunk *chunk;
    size_t pixels; /* in the chunk */
    struct bnn_epilogue epilogue;
    const int32_t *table; /* limits or corrections; NULL for floats */
    int bits, threshold;  /* the output is bits; by limits */
    size_t staged;        /* words of a group to stage, or 0 */
    const struct bnn_view *x, *residual;
    size_t output_row, output_image, output_pixel; /* strides in elements */
    struct bnn_conv_range rows;                    /* kernel rows that the chunk's pixels read */
};

static int groups_split_words(const struct bnn_conv *conv)
{
    return conv->shape.y->dtype == BNN_B1 && conv->shape.groups > 1 && conv->shape.outputs % 32 != 0;
}

static size_t group_output_words(const struct bnn_conv *conv)
{
    return (conv->shape.outputs + 31) / 32;
}

size_t bnn_conv_scratch(const struct bnn_conv *conv)
{
    size_t staged = groups_split_words(conv) ? MAX_CHUNK * group_output_words(conv) : 0;
    return sizeof(struct chunk) + staged * sizeof(uint32_t);
}

/* One kernel call: a block of channels, beginning at `first`, of `count` pixels beginning at `pixel`. */
static int call(const struct job *job, size_t first, const void *weights, size_t pixel, size_t count)
{
    const struct bnn_conv *conv = job->conv;
    const struct bnn_conv_shape *s = &conv->shape;
    struct chunk *c = job->chunk;
    const ptrdiff_t *segment = conv->segments + job->rows.begin * conv->row_segments;
    size_t segments = (job->rows.end - job->rows.begin) * conv->row_segments;
    size_t channels = s->outputs - first;
    uint32_t *const *bits = job->bits ? c->bits + pixel : NULL;
    float *const *values = job->bits ? NULL : c->values + pixel;
    const float *const *residual = job->residual != NULL ? c->residual + pixel : NULL;

    if (channels > conv->lanes && !s->depthwise)
        channels = conv->lanes;
    if (s->binary) {
        struct bnn_binary_tile tile = {.a = c->a.words + pixel,
                                       .segment = segment,
                                       .segments = segments,
                                       .length = conv->length,
                                       .pixels = count,
                                       .weights = weights,
                                       .table = c->table + pixel,
                                       .first = first,
                                       .channels = channels,
                                       .bits = bits,
                                       .values = values,
                                       .residual = residual,
                                       .epilogue = &job->epilogue};
        if (!job->threshold)
            return job->kernels->binary_values(&tile);
        job->kernels->binary_bits(&tile);
        return 0;
    }
    struct bnn_float_tile tile = {.a = c->a.values + pixel,
                                  .segment = segment,
                                  .segments = segments,
                                  .length = conv->length,
                                  .pixels = count,
                                  .weights = weights,
                                  .first = first,
                                  .channels = channels,
                                  .bits = bits,
                                  .values = values,
                                  .residual = residual,
                                  .epilogue = &job->epilogue};
    return s->depthwise ? job->kernels->depthwise(&tile) : job->kernels->float_values(&tile);
}

/* All pixels of the chunk; where something was not a number, again one by one to learn the images. */
static void call_block(const struct job *job, size_t first, const void *weights)
{
    if (!call(job, first, weights, 0, job->pixels))
        return;
    for (size_t i = 0; i < job->pixels; i++)
        if (call(job, first, weights, i, 1))
            job->run->nan[job->chunk->image[i]] = 1;
}

static void call_group(const struct job *job, size_t group)
{
    const struct bnn_conv *conv = job->conv;
    size_t skipped = group * conv->group_weights + job->rows.begin * conv->row_weights;
    size_t lanes = conv->shape.depthwise ? conv->shape.outputs : conv->lanes;
    for (size_t first = 0; first < conv->shape.outputs; first += lanes) {
        if (conv->shape.binary)
            call_block(job, first, conv->weights.words + skipped);
        else
            call_block(job, first, conv->weights.values + skipped);
        skipped += conv->block_weights;
    }
}

/* Moves staged bits of a group to their place, which begins in the middle of a word. */
static void merge_staged(const struct job *job, size_t group)
{
    size_t outputs = job->conv->shape.outputs, first = group * outputs, shift = first % 32;
    for (size_t i = 0; i < job->pixels; i++) {
        const uint32_t *src = job->chunk->staged + i * job->staged;
        uint32_t *dst = job->chunk->output[i] + first / 32;
        for (size_t k = 0; k < job->staged; k++) {
            size_t left = outputs - k * 32, bits = left < 32 ? left : 32;
            dst[k] = shift == 0 ? src[k] : dst[k] | src[k] << shift;
            if (shift + bits > 32)
                dst[k + 1] = src[k] >> (32 - shift);
        }
    }
}

static void next_group(struct job *job)
{
    const struct bnn_conv_shape *s = &job->conv->shape;
    struct chunk *c = job->chunk;
    for (size_t i = 0; i < job->pixels; i++) {
        if (s->binary) {
            c->a.words[i] += s->group_words;
            c->table[i] += job->conv->padded;
        } else {
            c->a.values[i] += s->group_words;
        }
        if (!job->bits)
            c->values[i] += s->outputs;
        else if (!job->staged)
            c->bits[i] += s->outputs / 32;
        if (job->residual != NULL)
            c->residual[i] += s->outputs;
    }
    const float **operands[] = {&job->epilogue.pre_mul, &job->epilogue.pre_add, &job->epilogue.sub, &job->epilogue.mul,
                                &job->epilogue.add};
    for (size_t i = 0; i < sizeof operands / sizeof operands[0]; i++)
        if (*operands[i] != NULL)
            *operands[i] += job->conv->padded;
}

static void flush(struct job *job)
{
    struct bnn_epilogue first = job->epilogue;
    for (size_t group = 0; job->pixels > 0 && group < job->conv->shape.groups; group++) {
        if (group > 0)
            next_group(job);
        call_group(job, group);
        if (job->staged)
            merge_staged(job, group);
    }
    job->epilogue = first;
    job->pixels = 0;
}

/* Where a row of the output begins, in all the tensors it takes part in. */
struct row {
    ptrdiff_t in; /* elements from the input's first pixel to the first window: it may lie in the halo */
    size_t out, residual;
    size_t image;
    const int32_t *table; /* of its row class */
};

static struct row find_row(const struct job *job, size_t image, size_t y)
{
    const struct bnn_conv *conv = job->conv;
    const struct bnn_conv_shape *s = &conv->shape;
    const struct bnn_conv_attrs *a = s->attrs;
    size_t classes = s->groups * conv->padded * conv->column_classes;
    struct row row = {
        .in = (ptrdiff_t)(image * job->x->image + y * (size_t)a->stride_h * s->x->row) -
              (ptrdiff_t)((size_t)a->pad_top * s->x->row + (size_t)a->pad_left * s->x->words),
        .out = image * job->output_image + y * job->output_row,
        .image = image,
        .table = s->binary ? job->table + conv->row_class[y] * classes : NULL,
    };
    if (job->residual != NULL)
        row.residual = image * job->residual->image + y * job->residual->tensor->row;
    return row;
}

/* Pixels [begin, end) of a row to the end of the chunk: one short loop for each list of pointers. */
static void add_pixels(struct job *job, const struct row *row, size_t begin, size_t end)
{
    const struct bnn_conv *conv = job->conv;
    const struct bnn_conv_shape *s = &conv->shape;
    struct chunk *c = job->chunk;
    size_t first = job->pixels, count = end - begin, out = row->out + begin * job->output_pixel;
    size_t step = (size_t)s->attrs->stride_w * s->x->words;
    ptrdiff_t in = row->in + (ptrdiff_t)(begin * step);
    if (s->binary) {
        const uint32_t *a = (const uint32_t *)job->x->data + in, **dst = c->a.words + first;
        const int32_t **table = c->table + first;
        const size_t *offset = conv->column_table + begin;
        for (size_t i = 0; i < count; i++) {
            dst[i] = a + i * step;
            table[i] = row->table + offset[i];
        }
    } else {
        const float *a = (const float *)job->x->data + in, **dst = c->a.values + first;
        for (size_t i = 0; i < count; i++)
            dst[i] = a + i * step;
    }
    if (job->bits) {
        uint32_t *output = (uint32_t *)job->run->output.data + out, **dst = (job->staged ? c->output : c->bits) + first;
        for (size_t i = 0; i < count; i++)
            dst[i] = output + i * job->output_pixel;
        for (size_t i = 0; !job->threshold && i < count; i++) /* where something may not be a number */
            c->image[first + i] = row->image;
    } else {
        float *output = (float *)job->run->output.data + out, **dst = c->values + first;
        for (size_t i = 0; i < count; i++)
            dst[i] = output + i * job->output_pixel;
    }
    for (size_t i = first; job->staged && i < first + count; i++)
        c->bits[i] = c->staged + i * job->staged;
    if (job->residual != NULL) {
        const float *residual = (const float *)job->residual->data + row->residual + begin * s->y->c;
        for (size_t i = 0; i < count; i++)
            c->residual[first + i] = residual + i * s->y->c;
    }
    job->pixels += count;
}

static void add_row(struct job *job, size_t image, size_t y, size_t limit)
{
    const struct row row = find_row(job, image, y);
    size_t width = job->conv->shape.y->w;
    for (size_t begin = 0, end; begin < width; begin = end) {
        size_t room = limit - job->pixels;
        end = width - begin < room ? width : begin + room;
        add_pixels(job, &row, begin, end);
        if (job->pixels == limit)
            flush(job);
    }
}

void bnn_conv_run(const struct bnn_run *r)
{
    const struct bnn_conv *conv = r->op->prepared;
    const struct bnn_conv_shape *s = &conv->shape;
    const struct bnn_tensor *y = s->y;
    int residual = r->raw ? conv->raw_residual : conv->residual;
    int bits = y->dtype == BNN_B1 && !r->raw;
    struct job job = {
        .run = r,
        .conv = conv,
        .kernels = r->model->kernels,
        .chunk = r->scratch,
        .epilogue = r->raw ? conv->raw_epilogue : conv->epilogue,
        .bits = bits,
        .threshold = conv->limits != NULL && !r->raw,
        .staged = bits && groups_split_words(conv) ? group_output_words(conv) : 0,
        .x = &r->inputs[0],
        .residual = residual ? &r->inputs[residual] : NULL,
        .output_pixel = bits ? y->words : y->c,
        .output_row = r->raw ? (size_t)y->w * y->c : y->row,
        .output_image = r->raw ? (size_t)y->h * y->w * y->c : r->output.image,
    };
    job.table = job.threshold ? conv->limits : conv->corrections;
    size_t height = s->binary ? job.kernels->binary_pixels : job.kernels->float_pixels;
    size_t limit = MAX_CHUNK / height * height;

    for (size_t begin = r->row_begin; begin < r->row_end;) {
        size_t class = conv->row_class[begin], end = begin + 1;
        while (end < r->row_end && conv->row_class[end] == class)
            end++;
        job.rows = conv->rows[class];
        for (size_t image = 0; image < r->images; image++)
            for (size_t row = begin; row < end; row++)
                add_row(&job, image, row, limit);
        flush(&job);
        begin = end;
    }
    if (!r->raw)
        bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}
