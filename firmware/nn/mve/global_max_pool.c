#include "lanes.h"

void vp_nn_mve_global_max_pool_row(const vp_nn_global_pool *p, int32_t row,
                                   const vp_nn_rows *input, int8_t *output)
{
    const int8_t *pixels = vp_nn_row(input, row);
    for (int32_t c = 0; c < p->channels; c += 16) {
        const mve_pred16_t lanes = vctp8q((uint32_t)(p->channels - c));
        int8x16_t x = row == 0 ? vdupq_n_s8((int8_t)p->min) : vldrbq_z_s8(output + c, lanes);
        x = vp_nn_mve_max(pixels + c, p->width, p->channels, lanes, x);
        if (row == p->height - 1) {
            x = vminq_s8(x, vdupq_n_s8((int8_t)p->max));
        }
        vstrbq_p_s8(output + c, x, lanes);
    }
}
