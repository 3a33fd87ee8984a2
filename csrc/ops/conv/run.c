/* SPDX-License-Identifier: Apache-2.0 */
/* Running a convolution: takes rows of one border class and passes their pixels to a kernel.
 *
 * A kernel takes a list of places, made once for the layer; for whole rows only their start changes.  If images have
 * few pixels and there are several, a chunk is gathered across rows and images instead: small images fill tiles, and a
 * dense layer treats the images of a micro-batch as pixels and reads its weights once for all of them. */
#include "ops/conv/conv.h"

enum {
    MAX_CHUNK = 64,
    FEW_PIXELS = 32 /* row ranges with fewer pixels are gathered with those of other images */
};

/* In a worker's scratch memory: the places of a gathered chunk, from the first pixels of the tensors. */
struct chunk {
    ptrdiff_t in[MAX_CHUNK], table[MAX_CHUNK], out[MAX_CHUNK], residual[MAX_CHUNK];
    size_t image[MAX_CHUNK];
    ptrdiff_t staged_at[MAX_CHUNK];
    uint32_t staged[]; /* [MAX_CHUNK][words of a group]: bits of groups that do not begin on a word */
};

/* The start of a row in each array. */
struct origin {
    ptrdiff_t in; /* from the input's first pixel to the first window, which may lie in the halo */
    ptrdiff_t table, out, residual;
};

struct job {
    const struct bnn_run *run;
    const struct bnn_conv *conv;
    const struct bnn_kernels *kernels;
    bnn_tile_kernel *kernel; /* where there is one plane */
    struct chunk *chunk;
    void *planes;        /* scratch of bnn_conv_planes */
    const float *table;  /* corrections or margins */
    int bits, threshold; /* the output is bits; by limits */
    int requantizes;     /* it is bytes or int16 */
    size_t staged;       /* words of a group to stage, or 0 */
    const struct bnn_view *x, *residual;
    size_t output_row, output_image, output_pixel; /* strides in elements */
    struct bnn_conv_range rows;                    /* kernel rows that the pixels read */
    size_t gathered;                               /* pixels in the chunk */
};

/* Pixels for a kernel: `count` places, the `first` and those after it, from an origin. */
struct pixels {
    struct origin from;
    struct bnn_conv_places at;
    size_t first, count;
    const size_t *image; /* of each; NULL: all of them one_image */
    size_t one_image;
};

static int groups_split_words(const struct bnn_conv *conv)
{
    return conv->shape.y->dtype == BNN_B1 && conv->shape.groups > 1 && conv->shape.outputs % 32 != 0;
}

static size_t group_output_words(const struct bnn_conv *conv)
{
    return (conv->shape.outputs + 31) / 32;
}

/* Blocks of a group. */
static size_t group_blocks(const struct bnn_conv *conv)
{
    return conv->shape.depthwise || groups_split_words(conv) ? 1 : conv->padded / conv->lanes;
}

size_t bnn_conv_blocks(const struct bnn_conv *conv)
{
    return conv->shape.groups * group_blocks(conv);
}

static size_t chunk_bytes(const struct bnn_conv *conv)
{
    size_t staged = groups_split_words(conv) ? MAX_CHUNK * group_output_words(conv) : 0;
    return (size_t)bnn_lines(sizeof(struct chunk) + staged * sizeof(uint32_t));
}

size_t bnn_conv_scratch(const struct bnn_conv *conv)
{
    return chunk_bytes(conv) + bnn_conv_planes_scratch(conv);
}

/* One kernel call: a block of a group's channels, beginning at `first`. */
struct call {
    size_t group, first;
    const void *weights;
    struct bnn_epilogue epilogue; /* from the group's first channel on */
    struct bnn_requantizer requantizer;
};

/* Whether three more bytes of the same image follow its last pixel: an image of bytes fills whole lines of memory.  Their
 * weights are 0, but nothing may have written them, and a checker of that takes an instruction in assembly to use all. */
static int has_slack(const struct bnn_tensor *t)
{
#ifdef __has_feature
#if __has_feature(memory_sanitizer)
    return 0;
#endif
#endif
    return ((size_t)t->top + t->h + t->bottom) * t->row + 3 <= t->bytes;
}

static bnn_tile_kernel *choose_kernel(const struct bnn_kernels *k, const struct bnn_conv *conv, int threshold)
{
    const struct bnn_conv_shape *s = &conv->shape;
    if (conv->packed != NULL)
        return conv->packed->values;
    if (s->binary)
        return threshold ? k->binary.bits : k->binary.values;
    if (bnn_conv_is_quantized(s))
        return s->depthwise ? k->wide->depthwise : k->wide->values;
    return s->bytes ? k->bytes.values : s->depthwise ? k->floats.depthwise : k->floats.values;
}

/* `count` pixels from number `pixel` on. */
static int call(const struct job *job, const struct call *c, const struct pixels *p, size_t pixel, size_t count)
{
    size_t place = p->first + pixel;
    const struct bnn_conv *conv = job->conv;
    const struct bnn_conv_shape *s = &conv->shape;
    size_t left = s->outputs - c->first, before = c->group * s->outputs;
    ptrdiff_t in = p->from.in + (ptrdiff_t)(c->group * s->group_words);
    struct bnn_tile tile = {.a = (const unsigned char *)job->x->data + in * (ptrdiff_t)s->x->element,
                            .segment = conv->segments + job->rows.begin * conv->row_segments,
                            .segments = (job->rows.end - job->rows.begin) * conv->row_segments,
                            .length = conv->length,
                            .pixels = count,
                            .slack = s->bytes && has_slack(s->x),
                            .weights = c->weights,
                            .first = c->first,
                            .channels = left > conv->lanes && !s->depthwise ? conv->lanes : left,
                            .epilogue = &c->epilogue,
                            .at = {.a = p->at.in + place}};

    if (job->staged) {
        tile.bits = job->chunk->staged;
        tile.at.bits = job->chunk->staged_at + pixel;
    } else if (job->bits) {
        tile.bits = (uint32_t *)job->run->output.data + p->from.out + before / 32;
        tile.at.bits = p->at.out + place;
    } else if (job->requantizes) {
        if (s->y->dtype == BNN_I16)
            tile.shorts = (int16_t *)job->run->output.data + p->from.out + before;
        else
            tile.bytes = (uint8_t *)job->run->output.data + p->from.out + before;
        tile.at.values = p->at.out + place;
        tile.requantizer = &c->requantizer;
    } else {
        tile.values = (float *)job->run->output.data + p->from.out + before;
        tile.at.values = p->at.out + place;
    }
    if (job->residual != NULL) {
        tile.residual = (const float *)job->residual->data + p->from.residual + before;
        tile.at.residual = p->at.residual + place;
    }
    if (s->binary || s->bytes) {
        ptrdiff_t table = p->from.table + (ptrdiff_t)(c->group * conv->padded);
        tile.at.table = p->at.table + place;
        if (bnn_conv_is_quantized(s))
            tile.whole = (job->run->raw ? conv->raw_whole : conv->whole) + table;
        else if (job->requantizes)
            tile.whole = conv->whole + table;
        else
            tile.corrections = job->table + table;
        if (s->binary && job->threshold)
            tile.limits = conv->limits + table;
    }
    if (s->planes > 1)
        return bnn_conv_planes(job->kernels, conv, &tile, job->threshold, job->planes);
    return job->kernel(&tile);
}

/* All pixels; if there was a NaN, again one by one to find the images. */
static void call_block(const struct job *job, const struct call *c, const struct pixels *p)
{
    if (!call(job, c, p, 0, p->count))
        return;
    for (size_t i = 0; i < p->count; i++)
        if (call(job, c, p, i, 1))
            job->run->nan[p->image ? p->image[i] : p->one_image] = 1;
}

/* The channels of a group from c->first on, and below `end`. */
static void call_group(const struct job *job, struct call *c, const struct pixels *p, size_t end)
{
    const struct bnn_conv *conv = job->conv;
    size_t skipped = c->group * conv->group_weights + job->rows.begin * conv->row_weights;
    size_t lanes = conv->shape.depthwise ? conv->shape.outputs : conv->lanes;
    skipped += c->first / lanes * conv->block_weights;
    for (; c->first < end; c->first += lanes) {
        c->weights = conv->weights + skipped;
        call_block(job, c, p);
        skipped += conv->block_weights;
    }
}

/* Moves the staged bits of a group to their place, which begins in the middle of a word. */
static void merge_staged(const struct job *job, size_t group, const struct pixels *p)
{
    size_t outputs = job->conv->shape.outputs, first = group * outputs, shift = first % 32;
    for (size_t i = 0; i < p->count; i++) {
        const uint32_t *src = job->chunk->staged + i * job->staged;
        uint32_t *dst = (uint32_t *)job->run->output.data + p->from.out + p->at.out[i] + first / 32;
        for (size_t k = 0; k < job->staged; k++) {
            size_t left = outputs - k * 32, bits = left < 32 ? left : 32;
            dst[k] = shift == 0 ? src[k] : dst[k] | src[k] << shift;
            if (shift + bits > 32)
                dst[k + 1] = src[k] >> (32 - shift);
        }
    }
}

static void run_pixels(const struct job *job, const struct pixels *p)
{
    const struct bnn_run *r = job->run;
    const struct bnn_conv *conv = job->conv;
    struct bnn_epilogue epilogue = {.pre_mul = NULL};
    if (!r->bare)
        epilogue = r->raw ? conv->raw_epilogue : conv->epilogue;
    size_t blocks = group_blocks(conv);
    for (size_t group = r->block_begin / blocks; group * blocks < r->block_end; group++) {
        size_t before = group * blocks, end = r->block_end - before; /* the run's blocks that are in this group */
        struct call c = {.group = group, .epilogue = epilogue, .requantizer = conv->requantizer};
        bnn_conv_move_epilogue(&c.epilogue, group * conv->padded);
        if (job->requantizes) {
            c.requantizer.multiplier += group * conv->padded;
            c.requantizer.shift += group * conv->padded;
        }
        c.first = r->block_begin > before ? (r->block_begin - before) * conv->lanes : 0;
        call_group(job, &c, p, end < blocks ? end * conv->lanes : conv->shape.outputs);
        if (job->staged)
            merge_staged(job, group, p);
    }
}

static struct origin find_row(const struct job *job, size_t image, size_t y)
{
    const struct bnn_conv *conv = job->conv;
    const struct bnn_conv_shape *s = &conv->shape;
    const struct bnn_conv_attrs *a = s->attrs;
    struct origin row = {
        .in = (ptrdiff_t)(image * job->x->image + y * (size_t)a->stride_h * s->x->row) -
              (ptrdiff_t)((size_t)a->pad_top * s->x->row + (size_t)a->pad_left * s->x->words),
        .out = (ptrdiff_t)(image * job->output_image + (y - job->run->output.first) * job->output_row),
    };
    if (s->binary || s->bytes)
        row.table = (ptrdiff_t)(conv->row_class[y] * s->groups * conv->padded * conv->column_classes);
    if (job->residual != NULL)
        row.residual = (ptrdiff_t)(image * job->residual->image + y * job->residual->tensor->row);
    return row;
}

static void flush(struct job *job)
{
    const struct chunk *c = job->chunk;
    struct pixels p = {.at = {c->in, c->table, c->out, c->residual}, .count = job->gathered, .image = c->image};
    if (p.count > 0)
        run_pixels(job, &p);
    job->gathered = 0;
}

static void gather_row(struct job *job, size_t image, size_t y, size_t limit)
{
    const struct origin row = find_row(job, image, y);
    const struct bnn_conv_places *at = &job->conv->at;
    struct chunk *c = job->chunk;
    for (size_t x = job->run->column_begin; x < job->run->column_end; x++) {
        size_t i = job->gathered++;
        c->in[i] = row.in + at->in[x];
        c->out[i] = row.out + (ptrdiff_t)(x * job->output_pixel);
        c->image[i] = image;
        if (at->table != NULL)
            c->table[i] = row.table + at->table[x];
        if (job->residual != NULL)
            c->residual[i] = row.residual + at->residual[x];
        if (job->gathered == limit)
            flush(job);
    }
}

/* Rows of one class, of all images. */
static void run_rows(struct job *job, size_t begin, size_t end, size_t limit)
{
    const struct bnn_conv *conv = job->conv;
    size_t first = job->run->column_begin, width = job->run->column_end - first;
    size_t step = width == conv->shape.y->w ? conv->chunk_rows : 1; /* part of a row counts as one */
    int few = job->run->images > 1 && (end - begin) * width < FEW_PIXELS;
    int gather = few || job->run->raw || job->staged; /* a raw output is in another place; few bits can be staged */
    for (size_t image = 0; image < job->run->images; image++)
        for (size_t y = begin; y < end; y += step) {
            size_t rows = end - y < step ? end - y : step;
            for (size_t i = 0; gather && i < rows; i++)
                gather_row(job, image, y + i, limit);
            if (gather)
                continue;
            struct pixels p = {.from = find_row(job, image, y),
                               .at = conv->at,
                               .first = first,
                               .count = rows * width,
                               .one_image = image};
            run_pixels(job, &p);
        }
    flush(job);
}

void bnn_conv_run(const struct bnn_run *r)
{
    const struct bnn_conv *conv = r->op->prepared;
    const struct bnn_tensor *y = conv->shape.y;
    int residual = r->bare ? 0 : r->raw ? conv->raw_residual : conv->residual;
    int bits = y->dtype == BNN_B1 && !r->raw;
    struct job job = {
        .run = r,
        .conv = conv,
        .kernels = r->model->kernels,
        .chunk = r->scratch,
        .planes = (unsigned char *)r->scratch + chunk_bytes(conv),
        .bits = bits,
        .requantizes = bnn_is_whole(y) && !r->raw,
        .threshold = bnn_slot_input(r->op, BNN_SLOT_THRESHOLD) != 0 && !r->raw,
        .staged = bits && groups_split_words(conv) ? group_output_words(conv) : 0,
        .x = &r->inputs[0],
        .residual = residual ? &r->inputs[residual] : NULL,
        .output_pixel = bits ? y->words : y->c,
        .output_row = r->raw ? (size_t)y->w * y->c : y->row,
        .output_image = r->raw ? (size_t)y->h * y->w * y->c : r->output.image,
    };
    job.kernel = choose_kernel(job.kernels, conv, job.threshold);
    job.table = conv->shape.bytes && job.threshold ? conv->margins : conv->corrections;
    for (size_t i = 0; job.staged && i < MAX_CHUNK; i++)
        job.chunk->staged_at[i] = (ptrdiff_t)(i * job.staged);
    for (size_t begin = r->row_begin; begin < r->row_end;) {
        size_t class = conv->row_class[begin], end = begin + 1;
        while (end < r->row_end && conv->row_class[end] == class)
            end++;
        job.rows = conv->rows[class];
        run_rows(&job, begin, end, MAX_CHUNK / conv->pixels * conv->pixels);
        begin = end;
    }
    if (!r->raw)
        bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}
