/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of event populations, and how they begin. */
#include "snn/events.h"

#include <string.h>

/* Neurons or channels, with room for vectors that extend beyond them. */
static void *take_slack(struct bnn_supply *m, uint64_t count, size_t size)
{
    return bnn_supply_take(m, count + BNN_SLACK / size, size);
}

/* The smallest float above v. */
static float above(float v)
{
    int32_t bits;
    if (v == 0)
        v = 0; /* not the zero below it */
    memcpy(&bits, &v, sizeof bits);
    bits += bits >= 0 ? 1 : -1;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void take_paths(const struct bnn_snn *net, struct bnn_supply *m, struct bnn_snn_state *s, struct bnn_changes *c)
{
    const struct bnn_snn_population *p = c->p;
    c->path_count = p->end - p->first;
    c->paths = bnn_supply_take(m, c->path_count, sizeof *c->paths);
    for (uint32_t i = 0; i < c->path_count; i++) {
        const struct bnn_snn_projection *q = &net->projections[p->first + i];
        const struct bnn_snn_population *from = &net->populations[q->source];
        const int runs = q->kind == BNN_SNN_CONV && q->groups == 1 && q->dilation[1] == 1;
        struct bnn_snn_reach *reach = runs ? bnn_supply_take(m, from->w, sizeof *reach) : NULL;
        if (m->at == NULL)
            continue;
        struct bnn_path *path = &c->paths[i];
        *path = (struct bnn_path){.projection = q, .to = c, .runs = runs, .reach = reach, .taps = 1};
        path->from = s->neurons[q->source].changes;
        if (q->kind == BNN_SNN_CONV) {
            path->group_in = from->c / q->groups;
            path->group_out = p->c / q->groups;
            path->row_length = (size_t)q->kernel[0] * q->kernel[1] * path->group_out;
        } else if (q->kind == BNN_SNN_WINDOW) {
            path->taps =
                (q->kernel[0] < from->h ? q->kernel[0] : from->h) * (q->kernel[1] < from->w ? q->kernel[1] : from->w);
            path->from->watched = 1;
        }
        for (uint32_t x = 0; runs && x < from->w; x++)
            reach[x] = bnn_snn_reach_of(q, 1, x, p->w);
        path->slice = bnn_event_slice(path);
    }
}

static void fill_counter(struct bnn_changes *c)
{
    const struct bnn_snn_population *p = c->p;
    for (uint32_t i = 0; i < p->c; i++) {
        c->signs[i] = bnn_of(&p->parameters[SIGN], i);
        c->lowest[i] = bnn_of(&p->parameters[LOWEST], i) != 0;
        if (c->limits != NULL)
            c->limits[i] = (int32_t)p->cuts[i];
        if (c->flips == NULL)
            continue;
        c->cuts[i] = c->signs[i] < 0 ? above(-p->cuts[i]) : p->cuts[i];
        c->flips[i / 32] |= (uint32_t)(c->signs[i] < 0) << i % 32;
    }
}

void bnn_event_place(const struct bnn_snn *net, uint32_t population, struct bnn_supply *m, struct bnn_snn_state *s)
{
    const struct bnn_snn_population *p = &net->populations[population];
    const int looks = p->rule == RULE_COUNTER && p->looks;
    const int sums = p->rule == RULE_SUM || (p->rule == RULE_COUNTER && !looks), counts = p->rule == RULE_COUNTER;
    struct bnn_changes *home = bnn_supply_take(m, 1, sizeof *home), c;
    memset(&c, 0, sizeof c);
    c.p = p;
    c.number = population;
    c.pixels = p->h * p->w;
    c.words = (uint32_t)bnn_snn_words(p->c);
    c.word_work = counts || p->rule == RULE_ANY ? 33 : 1;
    c.watched = p->rule != RULE_SUM;
    const uint64_t words = bnn_times(c.pixels, c.words);
    const int sends = p->rule != RULE_SUM && p->emits != BNN_SNN_VALUES, levels = sends && p->steps > 1;
    if (sends && !levels) {
        c.bits = bnn_supply_take(m, words, sizeof *c.bits);
        c.seen = bnn_supply_take(m, words, sizeof *c.seen);
    } else if (levels) {
        c.levels = bnn_supply_take(m, p->n, 1);
        c.levels_seen = bnn_supply_take(m, p->n, 1);
    }
    if (sends) {
        c.pending = bnn_supply_take(m, levels ? p->n : words, 1);
        c.waiting = bnn_supply_take(m, levels ? p->n : words, sizeof *c.waiting);
    }
    if (p->emits == BNN_SNN_VALUES && p->rule == RULE_INPUT)
        c.values = bnn_supply_take(m, p->n, sizeof *c.values);
    if (sums)
        c.membranes = take_slack(m, p->n, p->lanes ? sizeof(int16_t) : sizeof(float));
    if (p->rule != RULE_INPUT) {
        c.touched = bnn_supply_take(m, c.pixels, 1);
        c.list = bnn_supply_take(m, c.pixels, sizeof *c.list);
    }
    if (counts) {
        c.signs = take_slack(m, p->c, sizeof *c.signs);
        c.lowest = bnn_supply_take(m, p->c, 1);
        c.limits = sums && p->lanes ? take_slack(m, p->c, sizeof *c.limits) : NULL;
        c.floors = levels ? bnn_supply_take(m, p->n, sizeof *c.floors) : NULL;
        c.ceilings = levels ? bnn_supply_take(m, p->n, sizeof *c.ceilings) : NULL;
    }
    if (counts && sums && !levels && !p->lanes) {
        c.cuts = take_slack(m, p->c, sizeof *c.cuts);
        c.flips = bnn_supply_take(m, c.words + 1, sizeof *c.flips);
    }
    if (p->rule == RULE_ANY)
        c.every = bnn_supply_take(m, c.words, sizeof *c.every);
    take_paths(net, m, s, &c);
    if (m->at == NULL)
        return;
    *home = c;
    for (uint32_t i = 0; i < c.path_count; i++) {
        home->paths[i].to = home;
        if (looks)
            home->word_work = 32 * (home->paths[i].taps + 8);
        else if (p->rule == RULE_ANY)
            home->word_work = home->paths[i].taps + 1;
    }
    if (counts)
        fill_counter(home);
    for (uint32_t i = 0; p->rule == RULE_ANY && i < p->c; i++)
        home->every[i / 32] |= (uint32_t)(bnn_of(&p->parameters[EVERY], i) != 0) << i % 32;
    s->neurons[population].changes = home;
}

void bnn_event_begin(struct bnn_changes *c)
{
    const struct bnn_snn_population *p = c->p;
    for (uint32_t i = 0; c->membranes != NULL && i < p->n; i++) {
        const float v = bnn_of(&p->parameters[INITIAL], i);
        if (!p->lanes) {
            ((float *)c->membranes)[i] = v;
            continue;
        }
        const int32_t twice = c->limits == NULL ? 0 : (int32_t)v - c->limits[i % p->c];
        ((int16_t *)c->membranes)[i] = (int16_t)((twice - (twice & 1)) / 2);
    }
}

void bnn_event_reset(struct bnn_changes *c)
{
    const size_t units = c->pending == NULL ? 0 : bnn_event_units(c);
    if (c->bits != NULL) {
        memset(c->bits, 0, units * sizeof *c->bits);
        memset(c->seen, 0, units * sizeof *c->seen);
    }
    if (c->levels != NULL) {
        memset(c->levels, 0, units);
        memset(c->levels_seen, 0, units);
    }
    if (c->pending != NULL)
        memset(c->pending, 0, units);
    if (c->values != NULL)
        memset(c->values, 0, c->p->n * sizeof *c->values);
    c->waiting_count = 0;
    c->up = c->down = 0;
    c->stale = 0;
    for (uint32_t i = 0; i < c->path_count; i++)
        c->paths[i].events = 0;
    bnn_event_begin(c);
    bnn_event_bound_all(c);
    if (c->p->rule == RULE_INPUT)
        return;
    bnn_event_forget(c);
    bnn_event_touch(c, 0, c->pixels); /* some fire though nothing arrived */
}
