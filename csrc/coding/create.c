/* SPDX-License-Identifier: Apache-2.0 */
/* An engine's memory. */
#include "coding/coding.h"
#include "model/validate.h"

#include <string.h>

/* The same order of reservations measures and creates. */
static bnn_status place(const struct bnn_model *m, const struct bnn_snn *net, struct bnn_supply *s,
                        struct bnn_events **engine)
{
    size_t context_bytes = 0, state_bytes = 0;
    BNN_TRY(bnn_stepping_size(m, 1, 1, &context_bytes));
    BNN_TRY(bnn_snn_state_size(net, &state_bytes));
    struct bnn_events *e = bnn_supply_take(s, 1, sizeof *e), made;
    memset(&made, 0, sizeof made);
    void *context = bnn_supply_take(s, context_bytes, 1), *state = bnn_supply_take(s, state_bytes, 1);
    made.model = m;
    made.layers = bnn_supply_take(s, net->population_count, sizeof *made.layers);
    made.layer_of = bnn_supply_take(s, net->population_count, sizeof *made.layer_of);
    made.population_of = bnn_supply_take(s, m->tensor_count, sizeof *made.population_of);
    made.classes = bnn_supply_take(s, m->tensor_count, 1);
    made.wanted = bnn_supply_take(s, m->tensor_count, 1);
    made.values = bnn_supply_take(s, m->tensor_count, sizeof *made.values);
    made.inputs = bnn_supply_take(s, m->input_count, sizeof *made.inputs);
    for (uint32_t i = 0; i < m->input_count; i++) {
        const size_t count = (size_t)bnn_elements(&m->tensors[m->input_tensors[i]]);
        float *values = bnn_supply_take(s, count, sizeof *values);
        if (s->at != NULL)
            made.inputs[i] = (struct bnn_pixels){.values = values, .count = count};
    }
    for (uint32_t k = 0; k < m->op_count; k++) {
        const struct bnn_tensor *y = &m->tensors[m->ops[k].output];
        const size_t count = (size_t)bnn_elements(y);
        if (y->dtype == BNN_B1)
            continue;
        float *values = bnn_supply_take(s, count, sizeof *values);
        if (s->at != NULL)
            made.values[m->ops[k].output] = values;
    }
    made.accumulators = bnn_supply_take(s, net->most + BNN_SLACK / sizeof(float), sizeof *made.accumulators);
    made.totals = bnn_supply_take(s, net->most + BNN_SLACK / sizeof(float), sizeof *made.totals);
    if (s->at == NULL)
        return BNN_OK;
    BNN_TRY(bnn_context_create(m, 1, 1, context, context_bytes, &made.context));
    BNN_TRY(bnn_snn_state_create(net, state, state_bytes, &made.state));
    made.context->bare = 1;
    *e = made;
    *engine = e;
    return BNN_OK;
}

bnn_status bnn_events_size(const bnn_model *model, const bnn_snn *net, size_t *bytes)
{
    struct bnn_supply s = {NULL, 0};
    if (model == NULL || net == NULL || bytes == NULL)
        return BNN_ERROR_ARGUMENT;
    BNN_TRY(place(model, net, &s, NULL));
    *bytes = (size_t)s.used;
    return s.used > SIZE_MAX / 4 ? BNN_ERROR_LIMIT : BNN_OK;
}

bnn_status bnn_events_create(const bnn_model *model, const bnn_snn *net, void *memory, size_t memory_size,
                             bnn_poll *poll, void *argument, bnn_events **engine, bnn_problem *problem)
{
    struct bnn_supply s = {memory, 0};
    struct bnn_events *e = NULL;
    size_t bytes;
    if (problem != NULL)
        memset(problem, 0, sizeof *problem);
    if (engine == NULL)
        return BNN_ERROR_ARGUMENT;
    *engine = NULL;
    BNN_TRY(bnn_events_size(model, net, &bytes));
    if (model->kernels->events == NULL)
        return bnn_report(BNN_ABOUT("engine", BNN_NEVER, problem), BNN_ERROR_KERNELS,
                          "kernels for it in the families given (1: yes)", 0, 1);
    if (memory == NULL || memory_size < bytes || (uintptr_t)memory % BNN_ALIGNMENT != 0)
        return BNN_ERROR_MEMORY;
    memset(memory, 0, bytes);
    BNN_TRY(place(model, net, &s, &e));
    BNN_TRY(bnn_events_describe(e, problem));
    bnn_events_set_poll(e, poll, argument);
    e->state->decides = bnn_events_decides;
    e->state->decider = e;
    BNN_TRY(bnn_events_reset(e, NULL));
    *engine = e;
    return BNN_OK;
}

bnn_status bnn_events_run(bnn_events *e)
{
    return e == NULL ? BNN_ERROR_ARGUMENT : bnn_snn_run(e->state, NULL, 1);
}
