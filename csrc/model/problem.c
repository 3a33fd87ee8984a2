/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a problem with a file; nothing with BNN_NO_MESSAGES. */
#include "model/validate.h"

#ifndef BNN_NO_MESSAGES

struct text {
    char *at, *end; /* end leaves room for the final zero */
};

static void put(struct text *t, const char *s, size_t length)
{
    for (; length > 0 && t->at < t->end; length--) {
        char c = *s++;
        *t->at++ =
            (unsigned char)c < 32 || c == 127 ? '?' : c; /* names in a damaged file must not disturb a terminal */
    }
}

static size_t length_of(const char *s)
{
    size_t n = 0;
    while (s[n] != 0)
        n++;
    return n;
}

static void put_number(struct text *t, uint32_t number)
{
    char digits[10];
    size_t n = sizeof digits;
    do {
        digits[--n] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    put(t, digits + n, sizeof digits - n);
}

bnn_status bnn_report(const struct bnn_subject *s, bnn_status status, const char *what, int64_t found, int64_t expected)
{
    bnn_problem *problem = s->problem;
    if (problem == NULL)
        return status;
    struct text t = {problem->what, problem->what + sizeof problem->what - 1};
    put(&t, s->kind, length_of(s->kind));
    if (s->number != BNN_NEVER) {
        put(&t, " ", 1);
        put_number(&t, s->number);
    }
    if (s->name_length != 0) {
        /* Shorten the name, not the text: keep room for "): " and what. */
        size_t used = (size_t)(t.at - problem->what) + length_of(" (): ") + length_of(what);
        size_t room = used < sizeof problem->what - 1 ? sizeof problem->what - 1 - used : 0;
        size_t shown = s->name_length < room ? s->name_length : room;
        while (shown < s->name_length && shown > 0 && ((unsigned char)s->name[shown] & 0xC0) == 0x80)
            shown--; /* not in the middle of a UTF-8 sequence */
        put(&t, " (", 2);
        put(&t, s->name, shown);
        put(&t, ")", 1);
    }
    put(&t, ": ", 2);
    put(&t, what, length_of(what));
    *t.at = 0;
    problem->found = found;
    problem->expected = expected;
    return status;
}

bnn_status bnn_lack_op(bnn_problem *problem, const struct bnn_op *op, uint32_t number, uint32_t opcode)
{
#define BNN_NAME(opcode, name, ...) #name "\0"
    static const char names[] = BNN_OP_LIST(BNN_NAME); /* in the order of opcodes, which begin with 1 */
#undef BNN_NAME
    char what[64];
    struct text t = {what, what + sizeof what - 1};
    const char *name = names;
    if (problem == NULL)
        return BNN_ERROR_OPCODE;
    for (uint32_t i = 1; i < opcode; i++)
        name += length_of(name) + 1;
    put(&t, "table of ops without ", length_of("table of ops without "));
    put(&t, name, length_of(name));
    *t.at = 0;
    return bnn_op_error(problem, op, number, BNN_ERROR_OPCODE, what, 0, opcode);
}

bnn_status bnn_tensor_error(bnn_problem *problem, const struct bnn_tensor *t, uint32_t number, bnn_status status,
                            const char *what, uint64_t found, uint64_t expected)
{
    const struct bnn_subject s = {"tensor", number, t->name, t->name_length, problem};
    return bnn_report(&s, status, what, bnn_shown(found), bnn_shown(expected));
}

bnn_status bnn_op_error(bnn_problem *problem, const struct bnn_op *op, uint32_t number, bnn_status status,
                        const char *what, uint64_t found, uint64_t expected)
{
    const struct bnn_subject s = {"op", number, op->layer, op->layer_length, problem};
    return bnn_report(&s, status, what, bnn_shown(found), bnn_shown(expected));
}

bnn_status bnn_fail(struct bnn_prepare *p, const struct bnn_op *op, bnn_status status, const char *what, int64_t found,
                    int64_t expected)
{
    const struct bnn_subject s = {"op", p->number, op->layer, op->layer_length, p->problem};
    return bnn_report(&s, status, what, found, expected);
}

#endif
