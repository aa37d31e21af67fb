/** A row of an image added to sums per channel. */
#ifndef VP_NN_SUM_ROW_H
#define VP_NN_SUM_ROW_H

#include <stdint.h>
#include <string.h>

/** Clears the sums first where `row` is 0. */
static inline void vp_nn_sum_row(const int8_t *pixels, int32_t row, int32_t width,
                                 int32_t channels, int32_t *sums)
{
    if (row == 0) {
        memset(sums, 0, (size_t)channels * sizeof *sums);
    }
    for (int32_t column = 0; column < width; column++) {
        for (int32_t c = 0; c < channels; c++) {
            sums[c] += *pixels++;
        }
    }
}

#endif
