/** The arithmetic of one element of ADD. */
#ifndef VP_NN_ADD_H
#define VP_NN_ADD_H

#include "fixed_point.h"

/* Bits by which the operands grow before they are scaled, as in TFLM's kernels/add_common.cc. */
#define VP_NN_ADD_LEFT_SHIFT 20

static inline int32_t vp_nn_add_scaled(const vp_nn_add_operand *p, int8_t value)
{
    const int32_t real = vp_nn_shift_left(value - p->zero_point, VP_NN_ADD_LEFT_SHIFT);
    return vp_nn_shift_right(vp_nn_high_product(real, p->multiplier), -p->shift);
}

static inline int8_t vp_nn_add_element(const vp_nn_add *p, int8_t a, int8_t b)
{
    const int32_t sum = vp_nn_add_scaled(&p->a, a) + vp_nn_add_scaled(&p->b, b);
    const int32_t scaled = vp_nn_shift_right(vp_nn_high_product(sum, p->multiplier), -p->shift);
    return (int8_t)vp_nn_clamp(scaled + p->zero_point, p->min, p->max);
}

#endif
