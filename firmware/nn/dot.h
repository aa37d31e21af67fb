/** Products of int8 vectors. Sums of up to 2^17 - 1 products fit an int32_t. */
#ifndef VP_NN_DOT_H
#define VP_NN_DOT_H

#include <stdint.h>

static inline int32_t vp_nn_dot(const int8_t *x, const int8_t *weights, int32_t size)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < size; i++) {
        sum += x[i] * weights[i];
    }
    return sum;
}

/** One vector against four rows of weights, so that each x is loaded once. */
static inline void vp_nn_dot_4(const int8_t *x, const int8_t *weights, int32_t size, int32_t sums[4])
{
    const int8_t *w0 = weights;
    const int8_t *w1 = w0 + size;
    const int8_t *w2 = w1 + size;
    const int8_t *w3 = w2 + size;
    int32_t s0 = 0;
    int32_t s1 = 0;
    int32_t s2 = 0;
    int32_t s3 = 0;
    for (int32_t i = 0; i < size; i++) {
        const int32_t value = x[i];
        s0 += value * w0[i];
        s1 += value * w1[i];
        s2 += value * w2[i];
        s3 += value * w3[i];
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

#endif
