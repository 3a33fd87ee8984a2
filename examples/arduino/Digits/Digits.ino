// SPDX-License-Identifier: Apache-2.0
// Recognises a handwritten digit.  The network and the image are in digits.h.
#include <bnn_ops.h>

#include "digits.h"

// What the network needs, as `bnn inspect` lists it; other operations take no flash.  bconv2d_flash is bconv2d with weights
// that stay in flash.
static const bnn_op_row *const ops[] = {
  &bnn_op_row_copy,     &bnn_op_row_conv2d,  &bnn_op_row_bconv2d_flash,
  &bnn_op_row_max_pool, &bnn_op_row_reshape, &bnn_op_row_softmax,
};
static const bnn_kernels *const kernels[] = {&bnn_kernels_flash, &bnn_kernels_scalar_floats};
static const bnn_selection selection = {ops, sizeof ops / sizeof *ops, kernels, sizeof kernels / sizeof *kernels};

// For the opened model and for what it needs while it runs.
alignas(BNN_ALIGNMENT) static uint8_t memory[10 * 1024];

static bnn_context *context;

static bnn_status open_network() {
  bnn_model *model = nullptr;
  size_t used = 0;
  bnn_status status = bnn_model_size_selected(digits, sizeof digits, &selection, nullptr, &used, nullptr);
  if (status != BNN_OK) return status;
  used = (used + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT;
  if (used > sizeof memory) return BNN_ERROR_MEMORY;
  status = bnn_model_open_selected(digits, sizeof digits, &selection, nullptr, memory, used, &model, nullptr);
  if (status != BNN_OK) return status;
  return bnn_context_create(model, 1, 1, memory + used, sizeof memory - used, &context);
}

void setup() {
  Serial.begin(115200);
  bnn_status status = open_network();
  if (status != BNN_OK) Serial.println(bnn_status_text(status));
}

void loop() {
  if (context != nullptr) {
    float probabilities[10];
    const void *inputs[] = {seven};
    float *outputs[] = {probabilities};
    unsigned long start = micros();
    bnn_status status = bnn_run(context, inputs, outputs, 1);
    unsigned long took = micros() - start;
    if (status != BNN_OK) {
      Serial.println(bnn_status_text(status));
    } else {
      int best = 0;
      for (int i = 1; i < 10; i++)
        if (probabilities[i] > probabilities[best]) best = i;
      Serial.print("a ");
      Serial.print(best);
      Serial.print(", probability ");
      Serial.print(probabilities[best], 6);
      Serial.print(", in microseconds: ");
      Serial.println(took);
    }
  }
  delay(1000);
}
