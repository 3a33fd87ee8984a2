/* exp: exp(x). */
#include "functions.h"

BNN_FUNCTION(exp, BNN_OP_EXP, expf(x));
