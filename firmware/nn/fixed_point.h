/**
 * The fixed-point arithmetic of TensorFlow Lite Micro (tensorflow/lite/kernels/internal/common.h and
 * gemmlowp/fixedpoint.h, double rounding), free of undefined behaviour: sums and left shifts wrap,
 * right shifts of negative numbers are arithmetic, as on every compiler this code is built with.
 */
#ifndef VP_NN_FIXED_POINT_H
#define VP_NN_FIXED_POINT_H

#include "vp/nn.h"

typedef char vp_nn_right_shift_is_arithmetic[((-3) >> 1) == -2 ? 1 : -1];

static inline int32_t vp_nn_wrapping_add(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

static inline int32_t vp_nn_shift_left(int32_t x, int32_t bits)
{
    return (int32_t)((uint32_t)x << bits);
}

/** a * b / 2^31, to nearest, ties up. Not both INT32_MIN. */
static inline int32_t vp_nn_high_product(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + (INT64_C(1) << 30)) >> 31);
}

/** x / 2^bits, to nearest, ties away from zero; bits 0 .. 31. */
static inline int32_t vp_nn_shift_right(int32_t x, int32_t bits)
{
    const int32_t mask = (int32_t)((UINT32_C(1) << bits) - 1u);
    const int32_t remainder = x & mask;
    const int32_t threshold = (mask >> 1) + (x < 0);
    return (x >> bits) + (remainder > threshold);
}

/** x * multiplier / 2^31 * 2^shift, rounded twice; shift -31 .. 30. */
static inline int32_t vp_nn_scale(int32_t x, int32_t multiplier, int32_t shift)
{
    if (shift > 0) {
        return vp_nn_high_product(vp_nn_shift_left(x, shift), multiplier);
    }
    return vp_nn_shift_right(vp_nn_high_product(x, multiplier), -shift);
}

static inline int32_t vp_nn_clamp(int32_t x, int32_t min, int32_t max)
{
    if (x < min) {
        x = min;
    }
    return x > max ? max : x;
}

/** The int8 output of channel `channel` whose products sum to `sum`. */
static inline int8_t vp_nn_requantize(const vp_nn_output *p, int32_t channel, int32_t sum)
{
    const int32_t index = p->per_channel ? channel : 0;
    const int32_t accumulator = vp_nn_wrapping_add(sum, p->bias[channel]);
    const int32_t scaled = vp_nn_scale(accumulator, p->multiplier[index], p->shift[index]);
    return (int8_t)vp_nn_clamp(vp_nn_wrapping_add(scaled, p->zero_point), p->min, p->max);
}

#endif
