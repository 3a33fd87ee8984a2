/* SPDX-License-Identifier: Apache-2.0 */
/* The texts of the statuses, from the list in bnn.h. */
#include "bnn.h"

const char *bnn_status_text(bnn_status status)
{
    switch (status) {
#define BNN_STATUS_CASE(name, value, text) \
    case name:                             \
        return text;
        BNN_STATUS_LIST(BNN_STATUS_CASE)
#undef BNN_STATUS_CASE
    }
    return "unknown status";
}
