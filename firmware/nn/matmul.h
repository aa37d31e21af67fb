/** One output pixel of a convolution: a vector against all rows of weights of a range of channels. */
#ifndef VP_NN_MATMUL_H
#define VP_NN_MATMUL_H

#include "dot.h"
#include "fixed_point.h"

/** output[c] for c = first .. first + count - 1; `weights` begins at row `first`. */
static inline void vp_nn_matmul_pixel(const vp_nn_output *p, const int8_t *x, const int8_t *weights,
                                      int32_t size, int32_t first, int32_t count, int8_t *output)
{
    const int32_t end = first + count;
    int32_t channel = first;
    for (; channel + 4 <= end; channel += 4) {
        int32_t sums[4];
        vp_nn_dot_4(x, weights, size, sums);
        for (int32_t i = 0; i < 4; i++) {
            output[channel + i] = vp_nn_requantize(p, channel + i, sums[i]);
        }
        weights += 4 * size;
    }
    for (; channel < end; channel++) {
        output[channel] = vp_nn_requantize(p, channel, vp_nn_dot(x, weights, size));
        weights += size;
    }
}

#endif
