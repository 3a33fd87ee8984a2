/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a file: whatever the bytes, a status or a model, in memory of the size that was asked for. */
#include "fuzz.h"

#include "model/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script script = {NULL, 0, size >= 16 ? bnn_load32(data + 12) : 0};
    unsigned char *file = fuzz_block(size);
    if (file != NULL && size > 0) {
        memcpy(file, data, size);
        if (script.state % 64 != 0) /* now and then the checksum stays wrong */
            fuzz_repair_checksum(file, size);
        const bnn_kernels *kernels = fuzz_kernels(&script);
        size_t bytes = 0; /* by default: what bnn.h states */
        CHECK(bnn_model_size(file, size, kernels, &bytes, NULL) != BNN_OK || bytes <= ((size_t)64 << 20) + 64 * size,
              "a file of %zu bytes asks for %zu", size, bytes);
        fuzz_open(file, size, kernels);
        CHECK(size < 16 || (memcmp(file, data, 12) == 0 && memcmp(file + 16, data + 16, size - 16) == 0),
              "the file was written to");
    }
    fuzz_release();
    return 0;
}
