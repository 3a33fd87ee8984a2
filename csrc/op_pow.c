/* pow: x to the power of a number. */
#include "functions.h"

BNN_FUNCTION(pow, BNN_OP_POW, powf(x, ((const struct bnn_pow_attrs *)attrs)->exponent));
