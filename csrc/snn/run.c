/* SPDX-License-Identifier: Apache-2.0 */
/* A state: its memory, steps, records. */
#include "snn/events.h"

#include <string.h>

#define BNN_VARIABLES(name, opcode, parameters, variables, ...) [RULE_##name] = (variables),
static const uint8_t variables_of[RULE_COUNT] = {BNN_SNN_RULE_LIST(BNN_VARIABLES)};

/* Bytes of a population's ring of frames. */
static uint64_t frames_bytes(const struct bnn_snn_population *p)
{
    return (uint64_t)p->depth * bnn_snn_frame_step(p);
}

/* The end of a population's first projections, as far as they come from inputs of values: images are often shown for many
 * steps, and then bring the same in each. */
static uint32_t kept_end(const struct bnn_snn *net, const struct bnn_snn_population *p)
{
    uint32_t j = p->first;
    for (; j < p->end && !net->projections[j].learns; j++) {
        const struct bnn_snn_population *from = &net->populations[net->projections[j].source];
        if (from->rule != RULE_INPUT || from->emits != BNN_SNN_VALUES)
            break;
    }
    return j;
}

/* The same order of reservations measures and creates. */
static void place(const struct bnn_snn *net, struct bnn_supply *m, struct bnn_snn_state **state)
{
    struct bnn_snn_state *s = bnn_supply_take(m, 1, sizeof *s);
    struct bnn_snn_neurons *neurons = bnn_supply_take(m, net->population_count, sizeof *neurons);
    uint64_t *synops = bnn_supply_take(m, net->projection_count, sizeof *synops);
    uint64_t *kept_synops = bnn_supply_take(m, net->projection_count, sizeof *kept_synops);
    struct bnn_snn_plastic *plastic = bnn_supply_take(m, net->projection_count, sizeof *plastic);
    struct bnn_snn_reach **reach = bnn_supply_take(m, net->projection_count, sizeof *reach);
    uint64_t most = (uint64_t)net->most + BNN_SNN_LANES;
    uint32_t *index = bnn_supply_take(m, most, sizeof *index);
    uint32_t *values = bnn_supply_take(m, most, sizeof *values);
    uint32_t *bits = bnn_supply_take(m, bnn_snn_words(net->most) + bnn_snn_mark_words(net->most), sizeof *bits);
    uint32_t *sums = bnn_supply_take(m, bnn_plus(most, BNN_SLACK), sizeof *sums);
    if (m->at != NULL)
        *s = (struct bnn_snn_state){.net = net,
                                    .neurons = neurons,
                                    .synops = synops,
                                    .kept_synops = kept_synops,
                                    .plastic = plastic,
                                    .reach = reach,
                                    .index = index,
                                    .values = values,
                                    .bits = bits,
                                    .sums = sums,
                                    .reached = bits + bnn_snn_words(net->most)};
    for (uint32_t k = 0; k < net->population_count; k++) {
        const struct bnn_snn_population *p = &net->populations[k];
        const uint64_t floats = (uint64_t)bnn_snn_words(p->n) * BNN_SNN_LANES;
        if (bnn_snn_is_event(p)) {
            bnn_event_place(net, k, m, s);
            continue;
        }
        struct bnn_snn_neurons n = {.current = NULL};
        n.frames = bnn_supply_take(m, frames_bytes(p) + bnn_snn_mark_words(p->n) * sizeof *n.visits, 1);
        if (m->at != NULL)
            n.visits = (uint32_t *)(void *)(n.frames + frames_bytes(p));
        if (p->rule != RULE_INPUT)
            n.settles_on = n.current = bnn_supply_take(m, floats * sizeof(float) + BNN_SLACK, 1);
        if (kept_end(net, p) > p->first)
            n.kept = bnn_supply_take(m, floats, sizeof(float));
        if (BNN_SNN_SHARES && p->first < p->end && bnn_snn_shares(net, p->first)) {
            const uint64_t count = bnn_times(BNN_STEPS, net->projections[p->first].row);
            n.ahead = bnn_supply_take(m, 1, sizeof *n.ahead);
            float *currents = bnn_supply_take(m, count, sizeof *currents);
            if (m->at != NULL)
                *n.ahead = (struct bnn_snn_ahead){.currents = currents};
        }
        if (bnn_snn_recurrent(p))
            n.own = bnn_supply_take(m, floats * sizeof(float) + BNN_SLACK, 1);
        for (uint32_t v = 0; v < BNN_SNN_VARIABLES; v++)
            if (variables_of[p->rule] >> v & 1)
                n.variables[v] = bnn_supply_take(m, floats, sizeof(float));
        if (m->at != NULL)
            neurons[k] = n;
    }
    for (uint32_t j = 0; j < net->projection_count; j++) {
        const struct bnn_snn_projection *p = &net->projections[j];
        const size_t places = bnn_snn_is_event(&net->populations[p->target]) ? 0 : bnn_snn_reaches(net, p);
        struct bnn_snn_reach *found = places == 0 ? NULL : bnn_supply_take(m, places, sizeof *found);
        if (m->at != NULL) {
            reach[j] = found;
            if (places != 0)
                bnn_snn_find_reaches(net, p, found);
        }
        if (!p->learns)
            continue;
        struct bnn_snn_plastic w = {.bounded = 0};
        w.weights = bnn_supply_take(m, bnn_times(net->populations[p->source].n, p->row), sizeof *w.weights);
        w.pre = bnn_supply_take(m, (uint64_t)net->populations[p->source].n + BNN_SNN_LANES, sizeof *w.pre);
        w.post = bnn_supply_take(m, p->row, sizeof *w.post);
        w.change = bnn_supply_take(m, p->row, sizeof *w.change);
        if (m->at != NULL)
            plastic[j] = w;
    }
    if (m->at != NULL)
        *state = s;
}

bnn_status bnn_snn_state_size(const bnn_snn *net, size_t *bytes)
{
    struct bnn_supply m = {NULL, 0};
    if (net == NULL || bytes == NULL)
        return BNN_ERROR_ARGUMENT;
    place(net, &m, NULL);
    if (m.used > SIZE_MAX / 4)
        return BNN_ERROR_LIMIT;
    *bytes = (size_t)m.used;
    return BNN_OK;
}

bnn_status bnn_snn_state_create(const bnn_snn *net, void *memory, size_t memory_size, bnn_snn_state **state)
{
    size_t bytes;
    struct bnn_supply m = {memory, 0};
    if (state != NULL)
        *state = NULL;
    if (net == NULL || memory == NULL || state == NULL)
        return BNN_ERROR_ARGUMENT;
    BNN_TRY(bnn_snn_state_size(net, &bytes));
    if (memory_size < bytes || (uintptr_t)memory % BNN_ALIGNMENT != 0)
        return BNN_ERROR_MEMORY;
    memset(memory, 0, bytes);
    place(net, &m, state);
    bnn_snn_begin_learning(*state);
    return bnn_snn_reset(*state);
}

/* Where a variable begins; NULL: at 0. */
static const struct bnn_per_neuron *initial(const struct bnn_snn_population *p, uint32_t variable)
{
    if (variable == BNN_SNN_V)
        return &p->parameters[INITIAL];
    if (variable == BNN_SNN_B)
        return &p->parameters[THRESHOLD];
    return variable == BNN_SNN_I && p->rule == RULE_SYNAPTIC_APPROACH ? &p->parameters[OWN + 2] : NULL; /* leak */
}

/* Marks the blocks that the next step visits even without input: all of them after a reset or a set (`all`), otherwise
 * those of a population that never skips. */
static void visit(const struct bnn_snn_population *p, struct bnn_snn_neurons *n, int all)
{
    bnn_snn_mark_all(n->visits, p->n, p->rule != RULE_INPUT && (all || !p->skips));
}

/* A parameter's value of each neuron.  The last block of lanes has room for all of them. */
static void spread(const struct bnn_per_neuron *parameter, uint32_t n, float *to)
{
    struct bnn_per_neuron_walk walk = bnn_per_neuron_from(parameter, 0);
    for (uint32_t first = 0; first < n; first += BNN_SNN_LANES, bnn_per_neuron_next(&walk))
        memcpy(to + first, walk.data + walk.at, BNN_SNN_LANES * sizeof *to);
}

bnn_status bnn_snn_reset(bnn_snn_state *s)
{
    if (s == NULL)
        return BNN_ERROR_ARGUMENT;
    s->time = s->work = 0;
    s->stopped = s->refused = 0;
    s->overflowed = 0;
    memset(s->synops, 0, sizeof *s->synops * s->net->projection_count);
    memset(s->sums, 0, sizeof *s->sums * s->net->most);
    for (uint32_t k = 0; k < s->net->population_count; k++) {
        const struct bnn_snn_population *p = &s->net->populations[k];
        struct bnn_snn_neurons *n = &s->neurons[k];
        n->sent = n->still = n->kept_at = 0;
        if (bnn_snn_is_event(p)) {
            bnn_event_reset(n->changes);
            continue;
        }
        memset(n->frames, 0, (size_t)frames_bytes(p));
        visit(p, n, 1);
        if (p->skips)
            memset(n->current, 0, p->n * sizeof *n->current);
        for (uint32_t v = 0; v < BNN_SNN_VARIABLES; v++) {
            const struct bnn_per_neuron *begin = initial(p, v);
            if (v == BNN_SNN_ADAPTED) /* what was learned stays, as weights do */
                continue;
            if (n->variables[v] != NULL && begin == NULL)
                memset(n->variables[v], 0, p->n * sizeof *n->variables[v]);
            else if (n->variables[v] != NULL)
                spread(begin, p->n, n->variables[v]);
        }
    }
    for (uint32_t j = 0; j < s->net->projection_count; j++) {
        const struct bnn_snn_projection *p = &s->net->projections[j];
        if (!p->learns)
            continue;
        memset(s->plastic[j].pre, 0, s->net->populations[p->source].n * sizeof(float));
        memset(s->plastic[j].post, 0, p->row * sizeof(float));
    }
    return BNN_OK;
}

bnn_status bnn_snn_record(bnn_snn_state *s, uint32_t population, bnn_snn_what what, void *to, size_t steps)
{
    if (s == NULL || population >= s->net->population_count || (unsigned)what > BNN_SNN_MEMBRANE)
        return BNN_ERROR_ARGUMENT;
    struct bnn_snn_neurons *n = &s->neurons[population];
    if ((what == BNN_SNN_CURRENT && n->current == NULL) ||
        (what == BNN_SNN_MEMBRANE && n->variables[BNN_SNN_V] == NULL))
        return BNN_ERROR_ARGUMENT;
    n->records[what] = to;
    n->left[what] = to == NULL ? 0 : steps;
    return BNN_OK;
}

static void record(struct bnn_snn_neurons *n, bnn_snn_what what, const void *from, size_t bytes)
{
    if (n->left[what] == 0)
        return;
    memcpy(n->records[what], from, bytes);
    n->records[what] += bytes;
    n->left[what]--;
}

/* Forgets what a population sent when a frame was last used. */
static void clear(const struct bnn_snn_population *p, unsigned char *frame)
{
    const size_t bytes = bnn_snn_block_bytes(p);
    for (struct bnn_snn_span span = {0}; bnn_snn_next_span(bnn_snn_marks(p, frame), p->n, &span);)
        memset(frame + span.block * bytes, 0, (span.end_block - span.block) * bytes);
}

/* What a population sent in a span: marked and counted. */
static uint64_t mark(struct bnn_snn_state *s, const struct bnn_snn_population *p, const struct bnn_snn_span *span,
                     unsigned char *frame)
{
    const uint32_t *words = (const uint32_t *)(const void *)frame + span->block;
    uint32_t *marks = bnn_snn_marks(p, frame);
    uint64_t sent = 0;
    if (p->emits != BNN_SNN_SPIKES) {
        (void)s->net->kernels->nonzero(s->bits, (const float *)(const void *)frame + span->first, span->count);
        words = s->bits;
    }
    for (uint32_t block = span->block; block < span->end_block; block++, words++) {
        sent += bnn_popcount(*words);
        marks[block / 32] |= (uint32_t)(*words != 0) << block % 32;
    }
    return sent;
}

/* A population has settled: records, counts and marks. */
static void finish(struct bnn_snn_state *s, uint32_t k)
{
    const struct bnn_snn_population *p = &s->net->populations[k];
    struct bnn_snn_neurons *n = &s->neurons[k];
    unsigned char *frame = bnn_snn_frame(s, k, s->time);
    uint32_t *marks = bnn_snn_marks(p, frame);
    record(n, BNN_SNN_SENT, frame, bnn_snn_frame_bytes(p));
    record(n, BNN_SNN_CURRENT, n->settles_on, (size_t)p->n * sizeof(float));
    record(n, BNN_SNN_MEMBRANE, n->variables[BNN_SNN_V], (size_t)p->n * sizeof(float));
    if (!p->skips && p->emits == BNN_SNN_SPIKES) { /* its words are few */
        const uint64_t sent = bnn_snn_set_bits((const uint32_t *)(const void *)frame, p->n);
        bnn_snn_mark_all(marks, p->n, sent != 0);
        n->sent += sent;
        return;
    }
    bnn_snn_mark_all(marks, p->n, 0);
    for (struct bnn_snn_span span = {0}; bnn_snn_next_span(n->visits, p->n, &span);) {
        n->sent += mark(s, p, &span, frame);
        if (p->skips)
            memset(n->current + span.first, 0, span.count * sizeof *n->current);
    }
    bnn_snn_widen(marks, p->n);
    visit(p, n, 0);
    if (p->skips && p->rule == RULE_INTEGRATE) /* a membrane that fired may still be above the threshold */
        memcpy(n->visits, marks, bnn_snn_mark_words(p->n) * sizeof *marks);
}

/* Membranes that are not finite end a run. */
static void update(struct bnn_snn_state *s, uint32_t k)
{
    if (bnn_snn_update(s, k))
        return;
    s->stopped = 1;
    s->overflowed = k + 1;
}

static bnn_status outcome(const struct bnn_snn_state *s)
{
    if (s->overflowed != 0)
        return BNN_ERROR_RANGE;
    if (BNN_SNN_EVENTS && s->refused)
        return BNN_ERROR_ARGUMENT;
    return s->stopped ? BNN_ERROR_STOPPED : BNN_OK;
}

/* Currents begin with the bias; -0 becomes 0.  The last block of lanes has room for all of them. */
static void begin(const struct bnn_snn_population *p, float *restrict current)
{
    struct bnn_per_neuron_walk walk = bnn_per_neuron_from(&p->bias, 0);
    if (p->bias.period == 1 && p->bias.data[0] == 0) {
        memset(current, 0, p->n * sizeof *current);
        return;
    }
    for (uint32_t first = 0; first < p->n; first += BNN_SNN_LANES, bnn_per_neuron_next(&walk)) {
        const float *restrict bias = walk.data + walk.at;
        for (size_t l = 0; l < BNN_SNN_LANES; l++)
            current[first + l] = bias[l] + 0.0f;
    }
}

/* Whether the first projections bring what they brought when the currents were kept. */
static int brings_the_same(const struct bnn_snn_state *s, uint32_t k, uint32_t end)
{
    for (uint32_t j = s->net->populations[k].first; j < end; j++) {
        const struct bnn_snn_projection *p = &s->net->projections[j];
        /* Frames are the same from s->time - still on; that of the delay is looked at. */
        if (s->neurons[k].kept_at == 0 || s->neurons[k].kept_at - 1 + s->neurons[p->source].still < s->time + p->delay)
            return 0;
    }
    return 1;
}

/* The first projections, which are done again only if they bring something else: floats are added in the same order.
 * Returns the end of them. */
static BNN_APART uint32_t scatter_first(struct bnn_snn_state *s, uint32_t k)
{
    const struct bnn_snn_population *p = &s->net->populations[k];
    struct bnn_snn_neurons *n = &s->neurons[k];
    const uint32_t end = kept_end(s->net, p);
    if (brings_the_same(s, k, end)) {
        if (end == p->end && !p->skips)
            n->settles_on = n->kept;
        else
            memcpy(n->current, n->kept, p->n * sizeof *n->kept);
        for (uint32_t j = p->first; j < end; j++)
            s->synops[j] += s->kept_synops[j];
        if (p->skips)
            bnn_snn_mark_all(n->visits, p->n, 1);
        return end;
    }
    if (!p->skips)
        begin(p, n->current);
    for (uint32_t j = p->first; j < end; j++) {
        const uint64_t before = s->synops[j];
        bnn_snn_scatter(s, j);
        s->kept_synops[j] = s->synops[j] - before;
    }
    memcpy(n->kept, n->current, p->n * sizeof *n->kept);
    n->kept_at = s->time + 1; /* a state that was stopped is reset before it goes on */
    return end;
}

static void settle(struct bnn_snn_state *s, uint32_t k)
{
    const struct bnn_snn_population *p = &s->net->populations[k];
    float *current = s->neurons[k].current;
    uint32_t *visits = s->neurons[k].visits;
    s->neurons[k].settles_on = current;
    if (!p->skips && s->neurons[k].kept == NULL)
        begin(p, current);
    if (s->neurons[k].own != NULL)
        memset(s->neurons[k].own, 0, p->n * sizeof *current);
    uint32_t j = s->neurons[k].kept == NULL ? p->first : scatter_first(s, k);
    if (BNN_SNN_SHARES && s->neurons[k].ahead != NULL && bnn_snn_shared(s, j))
        j++;
    for (; j < p->end && !s->stopped; j++)
        bnn_snn_scatter(s, j);
    uint64_t visited = p->n;
    if (p->skips) {
        bnn_snn_widen(visits, p->n);
        visited = BNN_SNN_LANES * (1 + bnn_snn_set_bits(visits, (uint32_t)bnn_snn_words(p->n)));
        clear(p, bnn_snn_frame(s, k, s->time));
    }
    if (bnn_snn_pause(s, visited))
        return;
    update(s, k);
}

/* What an input of an event population is given in one step. */
static void give(struct bnn_snn_state *s, struct bnn_changes *c, const float *frame)
{
    for (uint32_t i = 0; i < c->p->n && !s->stopped; i++)
        if (frame[i] != 0 && !bnn_event_send(s, c, i, frame[i]))
            s->stopped = s->refused = 1;
    (void)bnn_snn_pause(s, c->p->n);
}

static void step_events(struct bnn_snn_state *s, uint32_t k, const unsigned char *given, size_t number)
{
    struct bnn_snn_neurons *n = &s->neurons[k];
    if (n->changes->p->rule != RULE_INPUT)
        bnn_event_step(s, n->changes);
    else if (given != NULL)
        give(s, n->changes, (const float *)(const void *)(given + number * bnn_snn_frame_bytes(n->changes->p)));
    if (n->left[BNN_SNN_SENT] == 0)
        return;
    bnn_event_record(n->changes, (float *)(void *)n->records[BNN_SNN_SENT]);
    n->records[BNN_SNN_SENT] += bnn_snn_frame_bytes(n->changes->p);
    n->left[BNN_SNN_SENT]--;
}

/* Whether a frame of n values is that before it. */
static int same_values(const unsigned char *frame, uint32_t n)
{
    const float *values = (const float *)(const void *)frame, *before = values - n;
    int differ = 0;
    for (; !differ && n >= BNN_SNN_LANES; n -= BNN_SNN_LANES, values += BNN_SNN_LANES, before += BNN_SNN_LANES)
        for (uint32_t i = 0; i < BNN_SNN_LANES; i++) /* a fixed length, which compilers vectorize */
            differ |= values[i] != before[i];
    for (uint32_t i = 0; i < n; i++)
        differ |= values[i] != before[i];
    return !differ;
}

static void step(struct bnn_snn_state *s, const void *const *inputs, size_t number)
{
    uint32_t input = 0;
    int events = 0;
    for (uint32_t k = 0; k < s->net->population_count && !s->stopped; k++) {
        const struct bnn_snn_population *p = &s->net->populations[k];
        if (bnn_snn_is_event(p)) {
            const int given = p->rule == RULE_INPUT && inputs != NULL;
            step_events(s, k, given ? inputs[input] : NULL, number);
            input += p->rule == RULE_INPUT;
            events = 1;
            continue;
        }
        if (p->rule == RULE_INPUT) {
            const unsigned char *given = inputs == NULL ? NULL : inputs[input];
            size_t bytes = bnn_snn_frame_bytes(p);
            if (p->emits == BNN_SNN_VALUES) {
                const int still = given != NULL && number > 0 && same_values(given + number * bytes, p->n);
                s->neurons[k].still = still ? s->neurons[k].still + 1 : 0;
            }
            input++;
            if (given != NULL) {
                memcpy(bnn_snn_frame(s, k, s->time), given + number * bytes, bytes);
                bnn_snn_mark_all(s->neurons[k].visits, p->n, 1);
            }
        } else {
            settle(s, k);
        }
        if (!s->stopped)
            finish(s, k);
    }
    if (events)
        bnn_event_end(s);
    if (s->learning)
        bnn_snn_learn(s);
    s->time++;
    for (uint32_t k = 0; k < s->net->population_count; k++) /* where bnn_snn_send puts the next step's spikes */
        if (s->net->populations[k].rule == RULE_INPUT && !bnn_snn_is_event(&s->net->populations[k]))
            clear(&s->net->populations[k], bnn_snn_frame(s, k, s->time));
}

/* Finite; numbers of spikes and changes also fit an int32_t. */
static int right_value(const struct bnn_snn_population *p, float value)
{
    if (p->emits != BNN_SNN_VALUES)
        return bnn_snn_whole(value, p->emits == BNN_SNN_COUNTS ? 0 : -(float)BNN_SNN_MOST);
    return value - value == 0;
}

/* Whether all values are finite: x - x of infinities and NaN is NaN. */
static int finite_values(const float *values, uint32_t n)
{
    int wrong = 0;
    for (; n >= BNN_SNN_LANES; n -= BNN_SNN_LANES, values += BNN_SNN_LANES)
        for (uint32_t i = 0; i < BNN_SNN_LANES; i++) /* a fixed length, as above */
            wrong |= values[i] - values[i] != 0;
    for (uint32_t i = 0; i < n; i++)
        wrong |= values[i] - values[i] != 0;
    return !wrong;
}

/* Bits of inputs beyond the last neuron would be taken for neurons; counts must be countable. */
static int right_input(const struct bnn_snn_population *p, const unsigned char *frames, size_t steps)
{
    size_t bytes = bnn_snn_frame_bytes(p);
    for (size_t t = 0; t < steps; t++, frames += bytes) {
        if (p->emits == BNN_SNN_SPIKES) {
            uint32_t last;
            memcpy(&last, frames + bytes - 4, 4);
            if (p->n % 32 != 0 && last >> p->n % 32 != 0)
                return 0;
        } else {
            const float *values = (const float *)(const void *)frames;
            if ((uintptr_t)frames % sizeof *values != 0)
                return 0;
            if (BNN_SNN_SHARES && p->emits == BNN_SNN_VALUES) {
                if (!finite_values(values, p->n))
                    return 0;
                continue;
            }
            for (uint32_t i = 0; i < p->n; i++)
                if (!right_value(p, values[i]))
                    return 0;
        }
    }
    return 1;
}

/* What all output populations sent. */
static BNN_APART uint64_t answered(const struct bnn_snn_state *s)
{
    uint64_t sent = 0;
    for (uint32_t k = 0; k < s->net->population_count; k++)
        if (s->net->populations[k].output)
            sent += bnn_snn_sent(s, k);
    return sent;
}

bnn_status bnn_snn_run(bnn_snn_state *s, const void *const *inputs, size_t steps)
{
    uint32_t input = 0;
    if (s == NULL)
        return BNN_ERROR_ARGUMENT;
    if (s->stopped)
        return outcome(s);
    for (uint32_t k = 0; inputs != NULL && k < s->net->population_count; k++)
        if (s->net->populations[k].rule == RULE_INPUT && inputs[input++] != NULL &&
            !right_input(&s->net->populations[k], inputs[input - 1], steps))
            return BNN_ERROR_ARGUMENT;
    for (uint32_t k = 0; BNN_SNN_SHARES && k < s->net->population_count; k++)
        if (s->neurons[k].ahead != NULL)
            bnn_snn_announce(s, k, inputs, steps);
    for (size_t t = 0; t < steps && !s->stopped && !(s->until_spike && answered(s) != s->answered); t++)
        step(s, inputs, t);
    return outcome(s);
}

bnn_status bnn_snn_run_until_spike(bnn_snn_state *s, const void *const *inputs, size_t steps)
{
    if (s == NULL)
        return BNN_ERROR_ARGUMENT;
    s->until_spike = 1;
    s->answered = answered(s);
    const bnn_status status = bnn_snn_run(s, inputs, steps);
    s->until_spike = 0;
    return status;
}

bnn_status bnn_snn_send(bnn_snn_state *s, uint32_t population, uint32_t neuron, float value)
{
    if (s == NULL || population >= s->net->population_count)
        return BNN_ERROR_ARGUMENT;
    const struct bnn_snn_population *p = &s->net->populations[population];
    if (p->rule != RULE_INPUT || neuron >= p->n)
        return BNN_ERROR_ARGUMENT;
    if (s->stopped)
        return outcome(s);
    if (bnn_snn_is_event(p))
        return bnn_event_send(s, s->neurons[population].changes, neuron, value) ? BNN_OK : BNN_ERROR_ARGUMENT;
    unsigned char *frame = bnn_snn_frame(s, population, s->time);
    bnn_snn_mark(s->neurons[population].visits, neuron / BNN_SNN_LANES);
    if (p->emits == BNN_SNN_SPIKES) {
        ((uint32_t *)(void *)frame)[neuron / 32] |= UINT32_C(1) << neuron % 32;
        return BNN_OK;
    }
    float *at = (float *)(void *)frame + neuron, sum = *at + value;
    if (!right_value(p, sum) || (p->emits != BNN_SNN_VALUES && sum - *at != value)) /* 2^24 and one more are 2^24 */
        return BNN_ERROR_ARGUMENT;
    *at = sum;
    return BNN_OK;
}

bnn_status bnn_snn_settle(bnn_snn_state *s, uint32_t population, const float *currents, size_t steps)
{
    if (s == NULL || currents == NULL || population >= s->net->population_count ||
        s->net->populations[population].rule == RULE_INPUT || bnn_snn_is_event(&s->net->populations[population]))
        return BNN_ERROR_ARGUMENT;
    const size_t n = s->net->populations[population].n;
    if (s->neurons[population].own != NULL)
        memset(s->neurons[population].own, 0, n * sizeof *currents);
    for (size_t t = 0; t < steps && !s->stopped; t++, currents += n) {
        memcpy(s->neurons[population].current, currents, n * sizeof *currents);
        s->neurons[population].settles_on = s->neurons[population].current;
        visit(&s->net->populations[population], &s->neurons[population], 1);
        update(s, population);
        if (s->overflowed != 0)
            break;
        finish(s, population);
        (void)bnn_snn_pause(s, n);
    }
    visit(&s->net->populations[population], &s->neurons[population], 1);
    return outcome(s);
}

static float *variable_of(const bnn_snn_state *s, uint32_t population, bnn_snn_variable variable)
{
    if (s == NULL || population >= s->net->population_count || (unsigned)variable >= BNN_SNN_VARIABLES)
        return NULL;
    return s->neurons[population].variables[variable];
}

bnn_status bnn_snn_get(const bnn_snn_state *s, uint32_t population, bnn_snn_variable variable, float *values)
{
    if (s != NULL && values != NULL && population < s->net->population_count &&
        bnn_snn_is_event(&s->net->populations[population]))
        return bnn_event_get(s->neurons[population].changes, variable, values) ? BNN_OK : BNN_ERROR_ARGUMENT;
    const float *from = variable_of(s, population, variable);
    if (from == NULL || values == NULL)
        return BNN_ERROR_ARGUMENT;
    memcpy(values, from, s->net->populations[population].n * sizeof *values);
    return BNN_OK;
}

bnn_status bnn_snn_set(bnn_snn_state *s, uint32_t population, bnn_snn_variable variable, const float *values)
{
    float *to = variable_of(s, population, variable);
    if (to == NULL || values == NULL)
        return BNN_ERROR_ARGUMENT;
    for (uint32_t i = 0; variable == BNN_SNN_LEVEL && i < s->net->populations[population].n; i++)
        if (!bnn_snn_whole(values[i], 0))
            return BNN_ERROR_ARGUMENT;
    memcpy(to, values, s->net->populations[population].n * sizeof *values);
    visit(&s->net->populations[population], &s->neurons[population], 1);
    return BNN_OK;
}

uint64_t bnn_snn_steps(const bnn_snn_state *s)
{
    return s->time;
}

int bnn_snn_overflowed(const bnn_snn_state *s, uint32_t *population)
{
    if (s == NULL || s->overflowed == 0)
        return 0;
    if (population != NULL)
        *population = s->overflowed - 1;
    return 1;
}

uint64_t bnn_snn_sent(const bnn_snn_state *s, uint32_t population)
{
    if (population >= s->net->population_count)
        return 0;
    const struct bnn_snn_neurons *n = &s->neurons[population];
    return bnn_snn_is_event(&s->net->populations[population]) ? n->changes->up + n->changes->down : n->sent;
}

uint64_t bnn_snn_synops(const bnn_snn_state *s, uint32_t projection)
{
    return projection < s->net->projection_count ? s->synops[projection] : 0;
}
