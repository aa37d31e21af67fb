/** Maxima of int8 vectors, four elements at a time. */
#ifndef VP_NN_DSP_MAXIMUM_H
#define VP_NN_DSP_MAXIMUM_H

#include "filters.h"

/** output[i] = the larger one of output[i] and other[i]. */
static inline void vp_nn_dsp_raise(int8_t *output, const int8_t *other, int32_t size)
{
    int32_t i = 0;
    for (; i + 4 <= size; i += 4) {
        const uint32_t a = vp_nn_dsp_load(output + i);
        const uint32_t b = vp_nn_dsp_load(other + i);
        uint32_t larger;
        __asm__("ssub8 %0, %1, %2\n"
                "sel %0, %1, %2"
                : "=&r"(larger)
                : "r"(a), "r"(b)
                : "cc");
        vp_nn_dsp_store(output + i, larger);
    }
    for (; i < size; i++) {
        output[i] = other[i] > output[i] ? other[i] : output[i];
    }
}

#endif
