/* SPDX-License-Identifier: Apache-2.0 */
/* The list of families, and which of them this processor can run. */
#include "../csrc/include/bnn.h"
#include "kernels.h"

#include <string.h>

#define BNN_KERNEL(name) extern const struct bnn_kernels bnn_kernels_##name;
#include "kernels.inc"
#undef BNN_KERNEL

const struct bnn_kernels *const bnn_kernel_families[] = {
#define BNN_KERNEL(name) &bnn_kernels_##name,
#include "kernels.inc"
#undef BNN_KERNEL
};

const size_t bnn_kernel_family_count = sizeof bnn_kernel_families / sizeof bnn_kernel_families[0];

const struct bnn_kernels bnn_kernels_portable = {.name = "portable", .portable_sums = 1};

/* The compiler's own tests use cpuid, and check (xgetbv) that the operating system saves the wide registers. */
uint32_t bnn_processor_features(void)
{
    uint32_t features = 0;
#if defined(__GNUC__) && defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
        __builtin_cpu_supports("popcnt"))
        features |= BNN_FEATURE_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        features |= BNN_FEATURE_AVX512;
    if (__builtin_cpu_supports("avx512vpopcntdq"))
        features |= BNN_FEATURE_VPOPCNTDQ;
    if (__builtin_cpu_supports("avx512vnni"))
        features |= BNN_FEATURE_VNNI;
    if (__builtin_cpu_supports("avx512vbmi2"))
        features |= BNN_FEATURE_VBMI2;
#elif defined(__aarch64__)
    features |= BNN_FEATURE_NEON;
#endif
    return features;
}

const bnn_kernels *bnn_kernels_select(const char *name)
{
    uint32_t features = bnn_processor_features();
    if (name != NULL && strcmp(name, bnn_kernels_portable.name) == 0)
        return &bnn_kernels_portable;
    for (size_t i = 0; i < bnn_kernel_family_count; i++) {
        const bnn_kernels *k = bnn_kernel_families[i];
        if ((name == NULL || strcmp(name, k->name) == 0) && (k->features & ~features) == 0)
            return k;
    }
    return NULL;
}

/* Takes what is missing from the first of the families, and of those that come along with them, that has it and that this
 * processor can run. */
static void take(const bnn_kernels *const *families, size_t count, bnn_kernels *complete)
{
    uint32_t features = bnn_processor_features();
    const bnn_kernels *along = NULL;
    for (size_t i = 0; along != NULL || i < count;) {
        const bnn_kernels *k = along != NULL ? along : families[i++];
        along = k->next;
        if (k->features & ~features)
            continue;
        complete->portable_sums |= k->portable_sums;
        if (complete->floats.values == NULL) {
            int portable = complete->portable_sums && k->portable != NULL;
            complete->floats = portable ? *k->portable : k->floats;
            complete->portable = portable ? NULL : k->portable;
        }
#define TAKE(member, function)      \
    if (complete->function == NULL) \
        complete->member = k->member;
        TAKE(name, name)
        TAKE(binary, binary.values)
        TAKE(bytes, bytes.values)
        TAKE(wide, wide)
        TAKE(take_differing, take_differing)
        TAKE(binarize, binarize)
        TAKE(binarize_at, binarize_at)
        TAKE(compute, compute)
        TAKE(quantize, quantize)
        TAKE(decode, decode)
        TAKE(events, events)
        TAKE(spikes, spikes)
#undef TAKE
    }
}

void bnn_kernels_complete(const bnn_kernels *family, bnn_kernels *complete)
{
    size_t next = 0;
    while (next < bnn_kernel_family_count && bnn_kernel_families[next] != family)
        next++;
    next = next < bnn_kernel_family_count ? next + 1 : 0;
    *complete = *family;
    take(bnn_kernel_families + next, bnn_kernel_family_count - next, complete);
}

void bnn_kernels_join(const bnn_kernels *const *families, size_t count, bnn_kernels *joined)
{
    *joined = (bnn_kernels){.name = NULL};
    take(families, count, joined);
}

const char *bnn_kernels_name(const bnn_kernels *kernels)
{
    return kernels->name;
}

const char *bnn_kernels_list(size_t index)
{
    if (index == bnn_kernel_family_count)
        return bnn_kernels_portable.name;
    return index < bnn_kernel_family_count ? bnn_kernel_families[index]->name : NULL;
}
