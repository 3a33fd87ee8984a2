/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a .snn file (docs/reference/snn-format.md). */
#include "model/container.h"
#include "snn/snn.h"

enum {
    POPULATION_BYTES = 128,
    PROJECTION_BYTES = 128,
    LEARNING_AT = 88, /* in a projection */
    SIGNAL_AT = 116,
    SCALES_AT = 120,
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

/* Of bnn/snn/rules.py: the number of a rule's own parameters; whether without input nothing is sent and the state
 * stays as it is; whether it is of event populations. */
#define BNN_PARAMETERS(name, opcode, parameters, ...) [RULE_##name] = (parameters),
#define BNN_SKIPS(name, opcode, parameters, variables, skips, ...) [RULE_##name] = (skips),
static const uint8_t parameters_of[RULE_COUNT] = {BNN_SNN_RULE_LIST(BNN_PARAMETERS)};
#define BNN_EVENT(name, opcode, parameters, variables, skips, event) [RULE_##name] = (event),
static const uint8_t skips[RULE_COUNT] = {BNN_SNN_RULE_LIST(BNN_SKIPS)};
static const uint8_t events[RULE_COUNT] = {BNN_SNN_RULE_LIST(BNN_EVENT)};

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
    const int rests = p->rule == RULE_ADAPTIVE || p->rule == RULE_REFRACTORY_LIF;
    WANT(p->rule < RULE_COUNT && (BNN_SNN_EVENTS || !events[p->rule]), BNN_ERROR_OPCODE, "rule (below)", p->rule,
         RULE_COUNT);
    WANT(p->reset < RESET_COUNT, BNN_ERROR_OPCODE, "reset (below)", p->reset, RESET_COUNT);
    WANT(p->emits <= BNN_SNN_CHANGES, BNN_ERROR_FORMAT, "what it sends (at most)", p->emits, BNN_SNN_CHANGES);
    const int takes_back = p->rule == RULE_TAKE_BACK || (BNN_SNN_EVENTS && events[p->rule] && p->rule != RULE_SUM);
    WANT(p->rule == RULE_INPUT || takes_back == (p->emits == BNN_SNN_CHANGES), BNN_ERROR_FORMAT,
         "what a rule sends that takes back, and no other", p->emits, BNN_SNN_CHANGES);
    WANT(!BNN_SNN_EVENTS || p->rule != RULE_SUM || p->emits == BNN_SNN_VALUES, BNN_ERROR_FORMAT, "what a sum sends",
         p->emits, BNN_SNN_VALUES);
    WANT(plain || p->emits == BNN_SNN_SPIKES, BNN_ERROR_FORMAT, "reset, comparison or winner without single spikes", 1,
         0);
    WANT(plain || p->rule != RULE_INPUT, BNN_ERROR_FORMAT, "reset, comparison or winner of an input", 1, 0);
    WANT(!rests || p->emits == BNN_SNN_SPIKES, BNN_ERROR_FORMAT, "what refractory neurons send", p->emits,
         BNN_SNN_SPIKES);
    WANT(!p->floored || p->rule > RULE_RELAY, BNN_ERROR_FORMAT, "floor of a rule that keeps no membrane", 1, 0);
    WANT(p->reset < RESET_LATE_ZERO || (p->rule != RULE_RELAY && !rests), BNN_ERROR_FORMAT,
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

/* Rising cuts of a counter; of lanes, whole numbers, which read_lanes checks. */
static bnn_status read_cuts(const struct reader *r, const unsigned char *at, struct bnn_snn_population *p)
{
    const void *data = NULL;
    const struct bnn_per_neuron *sign = &p->parameters[SIGN], *lowest = &p->parameters[LOWEST];
    WANT((sign->period == 1 || sign->period == p->c) && (lowest->period == 1 || lowest->period == p->c),
         BNN_ERROR_FORMAT, "signs or sides of a counter (1, or channels)", sign->period, p->c);
    for (uint32_t i = 0; i < sign->period; i++)
        WANT(sign->data[i] == 1 || sign->data[i] == -1, BNN_ERROR_FORMAT, "sign that is not 1 or -1: element", i,
             sign->period);
    BNN_TRY(read_data(r, bnn_load32(at + 120), (uint64_t)p->c * p->steps * sizeof(float), &data));
    p->cuts = data;
    for (uint64_t i = 0; i < (uint64_t)p->c * p->steps; i++)
        WANT(p->cuts[i] == p->cuts[i] && (i % p->steps == 0 || p->cuts[i] >= p->cuts[i - 1]), BNN_ERROR_FORMAT,
             "cut that is not a number, or is below the one before: element", bnn_shown(i), p->steps);
    return BNN_OK;
}

/* An event population (events.h): what a step adds to it is not float32. */
static bnn_status read_event(const struct reader *r, const unsigned char *at, struct bnn_snn_population *p)
{
    const int sends = p->rule != RULE_SUM && p->emits != BNN_SNN_VALUES;
    WANT(p->emits == BNN_SNN_CHANGES || p->emits == BNN_SNN_VALUES, BNN_ERROR_FORMAT, "what an event input sends",
         p->emits, BNN_SNN_CHANGES);
    WANT(p->steps >= 1 && p->steps <= (sends ? UINT8_MAX : 1), BNN_ERROR_FORMAT, "levels above 0 (1 to)", p->steps,
         sends ? UINT8_MAX : 1);
    if (p->rule == RULE_INPUT)
        return BNN_OK;
    WANT(p->bias.period == 1 && p->bias.data[0] == 0, BNN_ERROR_FORMAT, "bias of an event population", 1, 0);
    WANT(p->steps == 1 || p->rule != RULE_ANY, BNN_ERROR_FORMAT, "levels of windows of bits (1)", p->steps, 1);
    if (p->rule == RULE_ANY)
        WANT(p->parameters[EVERY].period == 1 || p->parameters[EVERY].period == p->c, BNN_ERROR_FORMAT,
             "parameters of windows (1, or channels)", p->parameters[EVERY].period, p->c);
    return p->rule == RULE_COUNTER ? read_cuts(r, at, p) : BNN_OK;
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
    p->origin = BNN_SNN_EVENTS ? bnn_load32(at + 112) : 0;
    p->steps = BNN_SNN_EVENTS ? bnn_load32(at + 116) : 0;
    p->event = (BNN_SNN_EVENTS && events[p->rule]) || (p->rule == RULE_INPUT && p->steps != 0);
    WANT(!BNN_SNN_EVENTS || p->event || (p->steps == 0 && p->origin == 0), BNN_ERROR_FORMAT,
         "levels of no event population", p->steps, 0);
    if (p->rule == RULE_INPUT)
        return bnn_snn_is_event(p) ? read_event(r, at, p) : BNN_OK;
    BNN_TRY(read_array(r, at + 32, p, &p->bias));
    for (uint32_t k = 0; k < OWN + (uint32_t)parameters_of[p->rule]; k++)
        BNN_TRY(read_array(r, at + 40 + 8 * k, p, &p->parameters[k]));
    const struct bnn_per_neuron *threshold = &p->parameters[THRESHOLD];
    for (uint32_t i = 0; (p->emits == BNN_SNN_COUNTS || p->emits == BNN_SNN_CHANGES) && i < threshold->period; i++)
        WANT(threshold->data[i] > 0, BNN_ERROR_FORMAT, "threshold of numbers of spikes that is not above 0: element", i,
             threshold->period);
    if (bnn_snn_is_event(p))
        return read_event(r, at, p);
    if (p->rule == RULE_TAKE_BACK)
        return check_levels(r, &p->parameters[OWN + 1]);
    return p->rule == RULE_ADAPTIVE ? read_array(r, at + 104, p, &p->adapted) : BNN_OK;
}

/* Every target sees a source. */
static bnn_status check_windows(const struct reader *r, const struct bnn_snn_projection *p,
                                const struct bnn_snn_population *from, const struct bnn_snn_population *to)
{
    const uint32_t sources[] = {from->h, from->w}, targets[] = {to->h, to->w};
    WANT(from->c == to->c, BNN_ERROR_FORMAT, "channels on both sides of windows", from->c, to->c);
    for (uint32_t i = 0; i < 2; i++)
        WANT(p->padding[i] < p->kernel[i] &&
                 (uint64_t)(targets[i] - 1) * p->stride[i] < (uint64_t)sources[i] + p->padding[i],
             BNN_ERROR_FORMAT, "windows with a source (1: yes)", 0, 1);
    WANT(p->dilation[0] == 1 && p->dilation[1] == 1 && p->groups == 1, BNN_ERROR_FORMAT,
         "dilation or groups of windows", 1, 0);
    return BNN_OK;
}

/* Where the wires of each source begin, and of one more, and their targets. */
static bnn_status read_wires(const struct reader *r, const unsigned char *at, struct bnn_snn_projection *p,
                             const struct bnn_snn_population *from, const struct bnn_snn_population *to)
{
    BNN_TRY(read_data(r, bnn_load32(at + 56), 4 * ((uint64_t)from->n + 1 + p->row), &p->weights));
    const uint32_t *first = p->weights, *wires = first + from->n + 1;
    p->count = p->row;
    WANT(first[0] == 0 && first[from->n] == p->row, BNN_ERROR_FORMAT, "number of wires", first[from->n], p->row);
    for (uint32_t i = 0; i < from->n; i++)
        WANT(first[i] <= first[i + 1], BNN_ERROR_FORMAT, "first wire after that of the source before: source", i,
             from->n);
    for (uint32_t i = 0; i < p->row; i++)
        WANT(wires[i] < to->n, BNN_ERROR_FORMAT, "target of a wire (below)", wires[i], to->n);
    return BNN_OK;
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
    p->origin = BNN_SNN_EVENTS ? bnn_load32(at + 68) : 0;
    if (BNN_SNN_EVENTS && p->kind == BNN_SNN_WIRES)
        return read_wires(r, at, p, from, to);
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
        if (p->kind == BNN_SNN_WINDOW)
            return check_windows(r, p, from, to);
        p->count = elements = bnn_times(bnn_times(from->c, (uint64_t)p->kernel[0] * p->kernel[1]), to->c / p->groups);
    }
    /* Kernels of event populations read beyond the end of rows. */
    const uint64_t slack = bnn_snn_is_event(to) && p->kind == BNN_SNN_CONV ? BNN_SLACK : 0;
    return read_data(r, bnn_load32(at + 56), bnn_plus(bnn_times(elements, p->whole ? 1 : sizeof(float)), slack),
                     &p->weights);
}

/* Whether each is -1, 0 or 1. */
static int are_signs(const int8_t *weights, uint64_t count)
{
    int others = 0;
    for (uint64_t i = 0; i < count; i++)
        others |= (uint8_t)(weights[i] + 1) > 2;
    return !others;
}

/* Membranes in lanes begin at whole numbers, and are compared with such. */
static bnn_status check_lanes(const struct reader *r, const struct bnn_snn_population *p)
{
    const struct bnn_per_neuron *initial = &p->parameters[INITIAL];
    for (uint32_t i = 0; i < initial->period; i++)
        WANT(bnn_snn_whole(initial->data[i], -(float)BNN_SNN_MOST), BNN_ERROR_FORMAT,
             "initial sum of int8 that is no whole number: element", i, initial->period);
    if (p->rule == RULE_SUM)
        return BNN_OK;
    WANT(p->steps == 1, BNN_ERROR_FORMAT, "levels of sums of int8", p->steps, 1);
    for (uint32_t i = 0; i < p->c; i++)
        WANT(bnn_snn_whole(p->cuts[i], -(float)BNN_SNN_MOST), BNN_ERROR_FORMAT,
             "cut of sums of int8 that is no whole number: element", i, p->c);
    for (uint32_t i = 0; i < p->parameters[SIGN].period; i++)
        WANT(p->parameters[SIGN].data[i] == 1, BNN_ERROR_FORMAT, "sign of sums of int8 (1): element", i, 1);
    return BNN_OK;
}

/* A projection into an event population; what is before it among those of the target was checked. */
static bnn_status check_event(const struct reader *r, const struct bnn_snn_projection *p,
                              const struct bnn_snn_population *from, struct bnn_snn_population *to, int first)
{
    const int sum = from->rule == RULE_SUM, levels = !sum && from->emits == BNN_SNN_CHANGES;
    WANT(from->event && to->event, BNN_ERROR_FORMAT, "event populations on both sides (1: yes)", 0, 1);
    WANT(p->delay == 0 && p->mask == NULL && p->bias.data == NULL, BNN_ERROR_FORMAT,
         "delay, mask or bias between event populations", 1, 0);
    if (to->rule == RULE_WIRE) {
        WANT(p->kind == BNN_SNN_WIRES && levels && from->steps == to->steps, BNN_ERROR_FORMAT,
             "wires from as many levels (1: yes)", 0, 1);
        return BNN_OK;
    }
    if (to->rule == RULE_ANY || p->kind == BNN_SNN_WINDOW) {
        const int fits = to->rule == RULE_ANY ? levels && from->steps == 1 : to->rule == RULE_COUNTER && sum;
        WANT(p->kind == BNN_SNN_WINDOW && first && fits, BNN_ERROR_FORMAT, "one window, of bits or of sums (1: yes)", 0,
             1);
        to->looks = 1;
        return BNN_OK;
    }
    WANT(p->kind == BNN_SNN_CONV && !sum && !to->looks, BNN_ERROR_FORMAT, "convolutions of what changes (1: yes)", 0,
         1);
    WANT(first || to->lanes == p->whole, BNN_ERROR_FORMAT, "type of the weights of all projections into it", p->whole,
         to->lanes);
    to->lanes = p->whole;
    WANT(!p->whole || (from->steps == 1 && p->scale == 2 && are_signs(p->weights, p->count)), BNN_ERROR_FORMAT,
         "int8 weights from bits, -1 to 1 with a scale of 2 (1: yes)", 0, 1);
    return p->whole ? check_lanes(r, to) : BNN_OK;
}

static int finite(float value)
{
    return value - value == 0;
}

/* A target's membrane shows at the end of a step how near it was to its threshold, or is what it sends. */
static bnn_status check_feedback(const struct reader *r, const struct bnn_snn_learning *n,
                                 const struct bnn_snn_population *populations, const struct bnn_snn_population *to)
{
    WANT(n->nu_pre == 0 && n->norm == 0, BNN_ERROR_FORMAT, "rate of a source's spikes, or norm, of feedback", 1, 0);
    WANT(n->width > 0 && finite(n->width), BNN_ERROR_FORMAT, "finite width above 0 (1: yes)", 0, 1);
    WANT(to->emits == BNN_SNN_VALUES ||
             (to->emits == BNN_SNN_SPIKES && to->reset >= RESET_LATE_ZERO && to->reset != RESET_CORRECTED_SUBTRACT),
         BNN_ERROR_FORMAT, "feedback to values, or to spikes with a late reset (1: yes)", 0, 1);
    WANT(n->signal < r->in.counts[POPULATIONS], BNN_ERROR_FORMAT, "population of a signal (below)", n->signal,
         r->in.counts[POPULATIONS]);
    const struct bnn_snn_population *signal = &populations[n->signal];
    WANT(signal->emits == BNN_SNN_VALUES && !bnn_snn_is_event(signal) && signal->n == to->n, BNN_ERROR_FORMAT,
         "signal of a value for each target (1: yes)", 0, 1);
    return BNN_OK;
}

/* Zeros, if it does not learn. */
static bnn_status read_learning(const struct reader *r, const unsigned char *at, struct bnn_snn_projection *p,
                                const struct bnn_snn_population *populations)
{
    const struct bnn_snn_population *from = &populations[p->source], *to = &populations[p->target];
    struct bnn_snn_learning *n = &p->learning;
    float *numbers[] = {&n->nu_pre, &n->nu_post, &n->decay_pre, n->feedback ? &n->width : &n->decay_post,
                        &n->low,    &n->high,    &n->norm};
    for (size_t k = 0; k < 7; k++)
        memcpy(numbers[k], at + LEARNING_AT + 4 * k, sizeof(float));
    n->signal = bnn_load32(at + SIGNAL_AT);
    const size_t end = p->scales.data == NULL ? PROJECTION_BYTES : SCALES_AT;
    for (size_t k = n->feedback ? SIGNAL_AT + 4 : p->learns ? SIGNAL_AT : LEARNING_AT; k < end; k++)
        WANT(at[k] == 0, BNN_ERROR_FORMAT, "byte without a meaning", at[k], 0);
    if (!p->learns)
        return BNN_OK;
    WANT(p->kind == BNN_SNN_DENSE && !p->whole && p->mask == NULL, BNN_ERROR_FORMAT,
         "learning of dense float32 weights of all sources (1: yes)", 0, 1);
    WANT(from->emits == BNN_SNN_SPIKES && (n->feedback || to->emits == BNN_SNN_SPIKES), BNN_ERROR_FORMAT,
         "learning between neurons that send single spikes (1: yes)", 0, 1);
    WANT(finite(n->nu_pre) && finite(n->nu_post), BNN_ERROR_FORMAT, "finite learning rates (1: yes)", 0, 1);
    WANT(n->decay_pre >= 0 && n->decay_pre <= 1 && n->decay_post >= 0 && n->decay_post <= 1, BNN_ERROR_FORMAT,
         "decays of traces from 0 to 1 (1: yes)", 0, 1);
    WANT(n->low <= n->high, BNN_ERROR_FORMAT, "bounds of weights in their order (1: yes)", 0, 1);
    WANT(n->norm >= 0 && finite(n->norm), BNN_ERROR_FORMAT, "norm of weights, 0 or a finite sum (1: yes)", 0, 1);
    return n->feedback ? check_feedback(r, n, populations, to) : BNN_OK;
}

static bnn_status read_projection(struct reader *r, uint32_t number, const struct bnn_snn_population *populations,
                                  struct bnn_snn_projection *p)
{
    enum { MASKED = 1, BIASED = 2, LEARNS = 4, ADDED = 8, FEEDBACK = 16 };
    const unsigned char *at = r->in.sections[PROJECTIONS].start + (size_t)number * PROJECTION_BYTES;
    r->about = *BNN_ABOUT("projection", number, r->about.problem);
    memset(p, 0, sizeof *p);
    const uint8_t last = BNN_SNN_EVENTS ? BNN_SNN_WIRES : BNN_SNN_WINDOW;
    p->kind = at[0];
    p->whole = at[1];
    WANT(p->kind <= last, BNN_ERROR_OPCODE, "kind (at most)", p->kind, last);
    WANT(p->whole <= 1, BNN_ERROR_FORMAT, "type of the weights (at most)", p->whole, 1);
    p->learns = (at[2] & LEARNS) != 0;
    p->learning.added = (at[2] & ADDED) != 0;
    p->learning.feedback = (at[2] & FEEDBACK) != 0;
    const uint8_t flags = p->learns ? ADDED + FEEDBACK : ADDED;
    WANT(at[2] < flags, BNN_ERROR_FORMAT, "flags (below)", at[2], flags);
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
    if (p->whole && !bnn_snn_is_event(to) && bnn_load32(at + SCALES_AT + 4) != 0)
        BNN_TRY(read_array(r, at + SCALES_AT, to, &p->scales));
    if (at[2] & MASKED) {
        const void *mask = NULL;
        BNN_TRY(read_data(r, bnn_load32(at + 64), bnn_snn_words(from->n) * 4, &mask));
        p->mask = mask;
    }
    if (at[2] & BIASED)
        BNN_TRY(read_array(r, at + 72, to, &p->bias));
    BNN_TRY(read_learning(r, at, p, populations));
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
        if (BNN_SNN_EVENTS && (to->event || from->event || p->kind == BNN_SNN_WIRES))
            BNN_TRY(check_event(r, p, from, to, to->end == 0));
        else if (p->kind == BNN_SNN_WINDOW)
            WANT(from->emits != BNN_SNN_SPIKES && from->emits != BNN_SNN_CHANGES && !p->whole && p->mask == NULL &&
                     p->bias.data == NULL,
                 BNN_ERROR_FORMAT, "windows on counts or values, without int8, mask and bias (1: yes)", 0, 1);
        if (to->end == 0)
            to->first = k;
        to->skips = (uint8_t)(to->skips & (p->bias.data == NULL) & finite(p->scale));
        to->end = k + 1;
        from->depth = p->delay + 1 > from->depth ? p->delay + 1 : from->depth;
    }
    for (uint32_t k = 0; BNN_SNN_EVENTS && k < net->population_count; k++) {
        const struct bnn_snn_population *p = &net->populations[k];
        r->about = *BNN_ABOUT("population", k, r->about.problem);
        WANT(p->rule != RULE_ANY || p->end > p->first, BNN_ERROR_FORMAT, "windows of a population that looks (1)", 0,
             1);
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
#ifndef BNN_NO_EVENTS
    opened->events = kernels->events != NULL ? kernels->events : bnn_kernels_scalar_events.events;
#endif
    opened->kernels = kernels->spikes != NULL ? kernels->spikes : bnn_kernels_scalar_spikes.spikes;
    BNN_TRY(fill(&r, opened));
    *net = opened;
    return BNN_OK;
}
