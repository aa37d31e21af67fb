/** What the global pools share. */
#ifndef VP_NN_MVE_SUM_ROW_H
#define VP_NN_MVE_SUM_ROW_H

#include "lanes.h"

/** Adds the pixels of a row to the sums of its channels, which begin with row 0. */
static inline void vp_nn_mve_sum_row(const int8_t *pixels, int32_t row, int32_t width,
                                     int32_t channels, int32_t *sums)
{
    for (int32_t c = 0; c < channels; c += 4) {
        const mve_pred16_t lanes = vctp32q((uint32_t)(channels - c));
        const int32x4_t before = row == 0 ? vdupq_n_s32(0) : vldrwq_z_s32(sums + c, lanes);
        vstrwq_p_s32(sums + c, vp_nn_mve_sum(pixels + c, width, channels, lanes, before), lanes);
    }
}

#endif
