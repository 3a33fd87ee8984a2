/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's poll, now and then. */
#include "snn/snn.h"

void bnn_snn_set_poll(bnn_snn_state *s, bnn_poll *poll, void *argument)
{
    if (s == NULL)
        return;
    s->poll = poll;
    s->argument = argument;
}

int bnn_snn_pause(struct bnn_snn_state *s, uint64_t work)
{
    s->work += work;
    if (s->work >= BNN_POLL_WORK) {
        s->work = 0;
        if (s->poll != NULL && s->poll(s->argument))
            s->stopped = 1;
    }
    return s->stopped;
}
