/* tanh: tanh(x). */
#include "functions.h"

BNN_FUNCTION(tanh, BNN_OP_TANH, tanhf(x));
