/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a .snn file (docs/reference/snn-format.md). */
#include "model/container.h"
#include "snn/snn.h"

enum {
    POPULATION_BYTES = 128,
    PROJECTION_BYTES = 128,
    LEARNING_AT = 88, /* in a projection */
    MOST_POPULATIONS = 4096,
    MOST_PROJECTIONS = 16384,
    MOST_NEURONS = 1 << 24,
    MOST_KERNEL = 4096
};

enum { POPULATIONS, PROJECTIONS }; /* the tables */

static const struct bnn_format snn = {
    .signature = {0x89, 'S', 'N', 'N', '\r', '\n', 0x1A, '\n'},
    .version = 1,
    .counts = 2,
    .needed = 1,
    .channels_first = 32,
    .text = 88,
    .record = {POPULATION_BYTES, PROJECTION_BYTES},
    .most = {MOST_POPULATIONS, MOST_PROJECTIONS},
    .names = BNN_NAMES(.text = "end of the simulator", .counts = {"number of populations", "number of projections"},
                       .offsets = {"offset of the populations", "offset of the projections",
                                   "offset of the string section", "offset of the data section"},
                       .sizes = {"size of the populations", "size of the projections", "size of the string section",
                                 "size of the data section"})};

/* The file, and what a message is about. */
struct reader {
    struct bnn_container in;
    struct bnn_subject about;
};

/* In a function of a reader r. */
#define WANT(...) BNN_WANT(&r->about, __VA_ARGS__)

/* `bytes` of data, which begin at a line. */
static bnn_status read_data(const struct reader *r, uint32_t line, uint64_t bytes, const void **data)
{
    uint64_t offset = (uint64_t)line * BNN_ALIGNMENT;
    uint64_t size = r->in.sections[BNN_DATA].bytes, left = offset <= size ? size - offset : 0;
    WANT(offset <= size && bytes <= left, BNN_ERROR_FORMAT, "bytes of data after an offset", left, bytes);
    *data = r->in.sections[BNN_DATA].start + offset;
    return BNN_OK;
}

/* Floats of a population: a line and a period. */
static bnn_status read_array(const struct reader *r, const unsigned char *at, const struct bnn_snn_population *p,
                             struct bnn_per_neuron *array)
{
    const void *data = NULL;
    array->period = bnn_load32(at + 4);
    WANT(array->period == 1 || array->period == p->c || array->period == p->n, BNN_ERROR_FORMAT,
         "elements of a parameter or bias (1, channels, or neurons)", array->period, p->n);
    BNN_TRY(read_data(r, bnn_load32(at), ((uint64_t)array->period + BNN_SNN_LANES - 1) * sizeof(float), &data));
    array->data = data;
    for (uint32_t i = 0; i < array->period + BNN_SNN_LANES - 1; i++)
        WANT(i < array->period ? array->data[i] - array->data[i] == 0
                               : array->data[i] == array->data[i - array->period],
             BNN_ERROR_FORMAT, "parameter or bias that is not finite, or not repeated: element", i, array->period);
    return BNN_OK;
}

static const uint8_t parameters_of[RULE_COUNT] = {
    [RULE_APPROACH] = 2,           [RULE_DECAY] = 1,           [RULE_DECAY_SCALED] = 2,
    [RULE_DIVIDE_ALL] = 2,         [RULE_DIVIDE] = 2,          [RULE_SYNAPTIC] = 2,
    [RULE_SYNAPTIC_APPROACH] = 5,  [RULE_SYNAPTIC_SCALED] = 3, [RULE_ADAPTIVE] = 5,
    [RULE_APPROACH_REST] = 2,      [RULE_LEAK_REST] = 2,       [RULE_DECAY_RECURRENT] = 1,
    [RULE_SYNAPTIC_RECURRENT] = 2, [RULE_TAKE_BACK] = 2,       [RULE_SYNAPTIC_JUMP] = 3,
};

/* `skips` of bnn/snn/rules.py: no input, and nothing sent, and the state stays as it is. */
static const uint8_t skips[RULE_COUNT] = {[RULE_RELAY] = 1, [RULE_INTEGRATE] = 1, [RULE_TAKE_BACK] = 1};

/* Whether blocks without input may be left alone: nothing but input changes them or lets them send. */
static int may_skip(const struct bnn_snn_population *p)
{
    const struct bnn_per_neuron *threshold = &p->parameters[THRESHOLD];
    int still = skips[p->rule] && p->reset < RESET_LATE_ZERO && !p->floored && !p->winner;
    still = still && !(p->rule == RULE_INTEGRATE && p->emits == BNN_SNN_VALUES);
    for (uint32_t i = 0; still && i < p->bias.period; i++)
        still = p->bias.data[i] == 0;
    for (uint32_t i = 0; still && p->rule == RULE_RELAY && p->emits == BNN_SNN_SPIKES && i < threshold->period; i++)
        still = p->at_least ? threshold->data[i] > 0 : threshold->data[i] >= 0;
    return still;
}

/* The bits of a population's fourth byte. */
enum { OUTPUT = 1, AT_LEAST = 2, FLOORED = 4, WINNER = 8 };

static bnn_status check_dynamics(const struct reader *r, const struct bnn_snn_population *p)
{
    const int plain = p->reset == RESET_NONE && !p->at_least && !p->winner;
    WANT(p->rule < RULE_COUNT, BNN_ERROR_OPCODE, "rule (below)", p->rule, RULE_COUNT);
    WANT(p->reset < RESET_COUNT, BNN_ERROR_OPCODE, "reset (below)", p->reset, RESET_COUNT);
    WANT(p->emits <= BNN_SNN_CHANGES, BNN_ERROR_FORMAT, "what it sends (at most)", p->emits, BNN_SNN_CHANGES);
    WANT(p->rule == RULE_INPUT || (p->rule == RULE_TAKE_BACK) == (p->emits == BNN_SNN_CHANGES), BNN_ERROR_FORMAT,
         "what a rule sends that takes back, and no other", p->emits, BNN_SNN_CHANGES);
    WANT(plain || p->emits == BNN_SNN_SPIKES, BNN_ERROR_FORMAT, "reset, comparison or winner without single spikes", 1,
         0);
    WANT(plain || p->rule != RULE_INPUT, BNN_ERROR_FORMAT, "reset, comparison or winner of an input", 1, 0);
    WANT(p->rule != RULE_ADAPTIVE || p->emits == BNN_SNN_SPIKES, BNN_ERROR_FORMAT,
         "what it sends with a threshold that adapts", p->emits, BNN_SNN_SPIKES);
    WANT(!p->floored || p->rule > RULE_RELAY, BNN_ERROR_FORMAT, "floor of a rule that keeps no membrane", 1, 0);
    WANT(p->reset < RESET_LATE_ZERO || (p->rule != RULE_RELAY && p->rule != RULE_ADAPTIVE), BNN_ERROR_FORMAT,
         "late reset of a rule that has none", p->reset, RESET_NONE);
    return BNN_OK;
}

/* Levels are counted in int32_t. */
static bnn_status check_levels(const struct reader *r, const struct bnn_per_neuron *most)
{
    for (uint32_t i = 0; i < most->period + BNN_SNN_LANES - 1; i++)
        WANT(bnn_snn_whole(most->data[i], 0), BNN_ERROR_FORMAT, "element that is no number of levels", i, BNN_SNN_MOST);
    return BNN_OK;
}

static bnn_status read_population(struct reader *r, uint32_t number, struct bnn_snn_population *p)
{
    const unsigned char *at = r->in.sections[POPULATIONS].start + (size_t)number * POPULATION_BYTES;
    r->about = *BNN_ABOUT("population", number, r->about.problem);
    memset(p, 0, sizeof *p);
    p->rule = at[0];
    p->reset = at[1];
    p->emits = at[2];
    p->output = (at[3] & OUTPUT) != 0;
    p->at_least = (at[3] & AT_LEAST) != 0;
    p->floored = (at[3] & FLOORED) != 0;
    p->winner = (at[3] & WINNER) != 0;
    WANT(at[3] < 2 * WINNER, BNN_ERROR_FORMAT, "flags (below)", at[3], 2 * WINNER);
    BNN_TRY(check_dynamics(r, p));
    p->rank = at[4];
    p->h = bnn_load32(at + 8);
    p->w = bnn_load32(at + 12);
    p->c = bnn_load32(at + 16);
    WANT(p->rank >= 1 && p->rank <= 3 && (p->rank > 2 || p->h == 1) && (p->rank > 1 || p->w == 1), BNN_ERROR_FORMAT,
         "rank (1 to 3, with sizes of 1 before)", p->rank, 3);
    uint64_t n = bnn_times(bnn_times(p->h, p->w), p->c);
    WANT(n >= 1 && n <= MOST_NEURONS, n == 0 ? BNN_ERROR_FORMAT : BNN_ERROR_LIMIT, "neurons", n, MOST_NEURONS);
    p->n = (uint32_t)n;
    p->depth = 1;
    BNN_TRY(bnn_read_string(&r->in, at + 24, BNN_TEXT("end of a name"), &r->about, &p->name, &p->name_length));
    if (p->rule == RULE_INPUT)
        return BNN_OK;
    BNN_TRY(read_array(r, at + 32, p, &p->bias));
    for (uint32_t k = 0; k < OWN + (uint32_t)parameters_of[p->rule]; k++)
        BNN_TRY(read_array(r, at + 40 + 8 * k, p, &p->parameters[k]));
    const struct bnn_per_neuron *threshold = &p->parameters[THRESHOLD];
    for (uint32_t i = 0; (p->emits == BNN_SNN_COUNTS || p->emits == BNN_SNN_CHANGES) && i < threshold->period; i++)
        WANT(threshold->data[i] > 0, BNN_ERROR_FORMAT, "threshold of numbers of spikes that is not above 0: element", i,
             threshold->period);
    if (p->rule == RULE_TAKE_BACK)
        return check_levels(r, &p->parameters[OWN + 1]);
    return p->rule == RULE_ADAPTIVE ? read_array(r, at + 104, p, &p->adapted) : BNN_OK;
}

/* The places and number of a projection's weights. */
static bnn_status read_weights(const struct reader *r, const unsigned char *at, struct bnn_snn_projection *p,
                               const struct bnn_snn_population *from, const struct bnn_snn_population *to)
{
    uint64_t elements;
    for (uint32_t i = 0; i < 2; i++) {
        p->kernel[i] = bnn_load32(at + 20 + 4 * i);
        p->stride[i] = bnn_load32(at + 28 + 4 * i);
        p->padding[i] = bnn_load32(at + 36 + 4 * i);
        p->dilation[i] = bnn_load32(at + 44 + 4 * i);
    }
    p->groups = bnn_load32(at + 52);
    p->row = bnn_load32(at + 60);
    if (p->kind == BNN_SNN_DENSE) {
        uint64_t row = ((uint64_t)to->n + 15) / 16 * 16;
        WANT(p->row == row, BNN_ERROR_FORMAT, "elements of a row", p->row, row);
        elements = bnn_times(from->n, row);
        p->count = (uint64_t)from->n * to->n;
    } else if (p->kind == BNN_SNN_DIAGONAL) {
        WANT(from->n == to->n, BNN_ERROR_FORMAT, "neurons on both sides", from->n, to->n);
        WANT(p->row == 1 || p->row == from->c || p->row == from->n, BNN_ERROR_FORMAT,
             "weights (1, channels, or neurons)", p->row, from->n);
        p->count = elements = p->row;
    } else {
        for (uint32_t i = 0; i < 2; i++) {
            WANT(p->kernel[i] >= 1 && p->kernel[i] <= MOST_KERNEL, BNN_ERROR_FORMAT, "kernel (1 to)", p->kernel[i],
                 MOST_KERNEL);
            WANT(p->stride[i] >= 1 && p->stride[i] <= MOST_KERNEL, BNN_ERROR_FORMAT, "stride (1 to)", p->stride[i],
                 MOST_KERNEL);
            WANT(p->dilation[i] >= 1 && p->dilation[i] <= MOST_KERNEL, BNN_ERROR_FORMAT, "dilation (1 to)",
                 p->dilation[i], MOST_KERNEL);
            WANT(p->padding[i] <= MOST_KERNEL, BNN_ERROR_FORMAT, "padding (at most)", p->padding[i], MOST_KERNEL);
        }
        WANT(p->groups >= 1 && from->c % p->groups == 0 && to->c % p->groups == 0, BNN_ERROR_FORMAT,
             "groups (a divisor of the channels of both sides)", p->groups, 1);
        WANT(p->row == 0, BNN_ERROR_FORMAT, "elements of a row of a convolution", p->row, 0);
        p->count = elements = bnn_times(bnn_times(from->c, (uint64_t)p->kernel[0] * p->kernel[1]), to->c / p->groups);
    }
    return read_data(r, bnn_load32(at + 56), bnn_times(elements, p->whole ? 1 : sizeof(float)), &p->weights);
}

static int finite(float value)
{
    return value - value == 0;
}

/* Zeros, if it does not learn. */
static bnn_status read_learning(const struct reader *r, const unsigned char *at, struct bnn_snn_projection *p,
                                const struct bnn_snn_population *from, const struct bnn_snn_population *to)
{
    struct bnn_snn_learning *n = &p->learning;
    float *numbers[] = {&n->nu_pre, &n->nu_post, &n->decay_pre, &n->decay_post, &n->low, &n->high, &n->norm};
    for (size_t k = 0; k < 7; k++)
        memcpy(numbers[k], at + LEARNING_AT + 4 * k, sizeof(float));
    for (size_t k = p->learns ? LEARNING_AT + 28 : LEARNING_AT; k < PROJECTION_BYTES; k++)
        WANT(at[k] == 0, BNN_ERROR_FORMAT, "byte without a meaning", at[k], 0);
    if (!p->learns)
        return BNN_OK;
    WANT(p->kind == BNN_SNN_DENSE && !p->whole && p->mask == NULL, BNN_ERROR_FORMAT,
         "learning of dense float32 weights of all sources (1: yes)", 0, 1);
    WANT(from->emits == BNN_SNN_SPIKES && to->emits == BNN_SNN_SPIKES, BNN_ERROR_FORMAT,
         "learning between neurons that send single spikes (1: yes)", 0, 1);
    WANT(finite(n->nu_pre) && finite(n->nu_post), BNN_ERROR_FORMAT, "finite learning rates (1: yes)", 0, 1);
    WANT(n->decay_pre >= 0 && n->decay_pre <= 1 && n->decay_post >= 0 && n->decay_post <= 1, BNN_ERROR_FORMAT,
         "decays of traces from 0 to 1 (1: yes)", 0, 1);
    WANT(n->low <= n->high, BNN_ERROR_FORMAT, "bounds of weights in their order (1: yes)", 0, 1);
    WANT(n->norm >= 0 && finite(n->norm), BNN_ERROR_FORMAT, "norm of weights, 0 or a finite sum (1: yes)", 0, 1);
    return BNN_OK;
}

static bnn_status read_projection(struct reader *r, uint32_t number, const struct bnn_snn_population *populations,
                                  struct bnn_snn_projection *p)
{
    enum { MASKED = 1, BIASED = 2, LEARNS = 4, ADDED = 8 };
    const unsigned char *at = r->in.sections[PROJECTIONS].start + (size_t)number * PROJECTION_BYTES;
    r->about = *BNN_ABOUT("projection", number, r->about.problem);
    memset(p, 0, sizeof *p);
    p->kind = at[0];
    p->whole = at[1];
    WANT(p->kind <= BNN_SNN_DIAGONAL, BNN_ERROR_OPCODE, "kind (at most)", p->kind, BNN_SNN_DIAGONAL);
    WANT(p->whole <= 1, BNN_ERROR_FORMAT, "type of the weights (at most)", p->whole, 1);
    p->learns = (at[2] & LEARNS) != 0;
    p->learning.added = (at[2] & ADDED) != 0;
    WANT(at[2] < 2 * ADDED && (p->learns || !p->learning.added), BNN_ERROR_FORMAT, "flags (below)", at[2],
         p->learns ? 2 * ADDED : ADDED);
    p->source = bnn_load32(at + 4);
    p->target = bnn_load32(at + 8);
    p->delay = bnn_load32(at + 12);
    WANT(p->source < r->in.counts[POPULATIONS], BNN_ERROR_FORMAT, "source (below)", p->source,
         r->in.counts[POPULATIONS]);
    WANT(p->target < r->in.counts[POPULATIONS], BNN_ERROR_FORMAT, "target (below)", p->target,
         r->in.counts[POPULATIONS]);
    const struct bnn_snn_population *from = &populations[p->source], *to = &populations[p->target];
    WANT(to->rule != RULE_INPUT, BNN_ERROR_FORMAT, "rule of its target, an input", 0, 1);
    WANT(p->delay >= (p->source >= p->target) && p->delay <= BNN_SNN_MOST_DELAY, BNN_ERROR_FORMAT,
         "delay (1 or more from a population that settles later)", p->delay, p->source >= p->target);
    WANT(!p->whole || from->emits != BNN_SNN_VALUES, BNN_ERROR_FORMAT, "type of the weights of real values", p->whole,
         0);
    memcpy(&p->scale, at + 16, sizeof p->scale);
    BNN_TRY(read_weights(r, at, p, from, to));
    if (at[2] & MASKED) {
        const void *mask = NULL;
        BNN_TRY(read_data(r, bnn_load32(at + 64), bnn_snn_words(from->n) * 4, &mask));
        p->mask = mask;
    }
    if (at[2] & BIASED)
        BNN_TRY(read_array(r, at + 72, to, &p->bias));
    BNN_TRY(read_learning(r, at, p, from, to));
    return bnn_read_string(&r->in, at + 80, BNN_TEXT("end of a name"), &r->about, &p->name, &p->name_length);
}

/* The network and its tables in the memory; measures it if there is none. */
static struct bnn_snn *place(const struct reader *r, unsigned char *memory, uint64_t *bytes)
{
    const uint64_t sizes[] = {
        bnn_lines(sizeof(struct bnn_snn)),
        bnn_lines(r->in.counts[POPULATIONS] * sizeof(struct bnn_snn_population)),
        bnn_lines(r->in.counts[PROJECTIONS] * sizeof(struct bnn_snn_projection)),
    };
    *bytes = sizes[0] + sizes[1] + sizes[2];
    if (memory == NULL)
        return NULL;
    struct bnn_snn *net = (struct bnn_snn *)(void *)memory;
    memset(memory, 0, (size_t)*bytes);
    net->populations = (struct bnn_snn_population *)(void *)(memory + sizes[0]);
    net->projections = (struct bnn_snn_projection *)(void *)(memory + sizes[0] + sizes[1]);
    net->population_count = r->in.counts[POPULATIONS];
    net->projection_count = r->in.counts[PROJECTIONS];
    memcpy(&net->dt, r->in.file + 36, sizeof net->dt);
    net->channels_first = r->in.channels_first;
    net->simulator = r->in.text;
    net->simulator_length = r->in.text_length;
    return net;
}

static bnn_status begin(struct reader *r, const void *file, size_t size, const bnn_kernels *kernels,
                        bnn_problem *problem)
{
    r->about = *BNN_ABOUT("header", BNN_NEVER, problem);
    BNN_TRY(bnn_check_given(file, kernels, problem));
    return bnn_blame(&r->in, bnn_read_container(&r->in, &snn, file, size, problem), problem);
}

bnn_status bnn_snn_size(const void *file, size_t size, const bnn_kernels *kernels, size_t *bytes, bnn_problem *problem)
{
    struct reader r;
    uint64_t needed;
    if (bytes == NULL)
        return bnn_missing(problem, BNN_ERROR_ARGUMENT, "bytes");
    BNN_TRY(begin(&r, file, size, kernels, problem));
    (void)place(&r, NULL, &needed);
    *bytes = (size_t)needed;
    return BNN_OK;
}

static bnn_status fill(struct reader *r, struct bnn_snn *net)
{
    uint32_t before = 0, outputs = 0;
    for (uint32_t k = 0; k < net->population_count; k++) {
        BNN_TRY(read_population(r, k, &net->populations[k]));
        net->populations[k].skips = (uint8_t)may_skip(&net->populations[k]);
        net->most = net->populations[k].n > net->most ? net->populations[k].n : net->most;
        outputs += net->populations[k].output;
    }
    for (uint32_t k = 0; k < net->projection_count; k++) {
        struct bnn_snn_projection *p = &net->projections[k];
        BNN_TRY(read_projection(r, k, net->populations, p));
        WANT(p->target >= before, BNN_ERROR_FORMAT, "target (not before that of the projection before)", p->target,
             before);
        before = p->target;
        struct bnn_snn_population *to = &net->populations[p->target], *from = &net->populations[p->source];
        if (to->end == 0)
            to->first = k;
        to->skips = (uint8_t)(to->skips & (p->bias.data == NULL) & finite(p->scale));
        to->end = k + 1;
        from->depth = p->delay + 1 > from->depth ? p->delay + 1 : from->depth;
    }
    r->about = *BNN_ABOUT("header", BNN_NEVER, r->about.problem);
    WANT(outputs > 0, BNN_ERROR_FORMAT, "number of outputs", outputs, 1);
    return BNN_OK;
}

bnn_status bnn_snn_open(const void *file, size_t size, const bnn_kernels *kernels, void *memory, size_t memory_size,
                        bnn_snn **net, bnn_problem *problem)
{
    struct reader r;
    uint64_t needed;
    if (net == NULL)
        return bnn_missing(problem, BNN_ERROR_ARGUMENT, "net");
    *net = NULL;
    BNN_TRY(begin(&r, file, size, kernels, problem));
    BNN_TRY(bnn_check_checksum(&r.in, problem));
    (void)place(&r, NULL, &needed);
    BNN_TRY(bnn_check_memory(memory, memory_size, (size_t)needed, problem));
    struct bnn_snn *opened = place(&r, memory, &needed);
    /* Not bnn_kernels_complete, which names every family: a program that names one part contains no other. */
    opened->kernels = kernels->spikes != NULL ? kernels->spikes : bnn_kernels_scalar_spikes.spikes;
    BNN_TRY(fill(&r, opened));
    *net = opened;
    return BNN_OK;
}
