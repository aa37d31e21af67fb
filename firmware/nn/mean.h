/** The arithmetic of one element of MEAN. */
#ifndef VP_NN_MEAN_H
#define VP_NN_MEAN_H

#include "fixed_point.h"

static inline int8_t vp_nn_mean_of(const vp_nn_mean *p, int32_t sum)
{
    const int32_t scaled =
        vp_nn_scale(vp_nn_wrapping_add(sum, p->bias), p->multiplier, p->shift);
    return (int8_t)vp_nn_clamp(vp_nn_wrapping_add(scaled, p->zero_point), INT8_MIN, INT8_MAX);
}

#endif
