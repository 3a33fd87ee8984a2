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

void bnn_snn_poll(struct bnn_snn_state *s)
{
    s->work = 0;
    if (s->poll == NULL)
        return;
    if (s->poll(s->argument))
        s->stopped = 1;
}
