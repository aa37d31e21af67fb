/**
 * The rows under a window, turned by 90 degrees: for each column, the pixels of all these rows one
 * after another. What lies under the window of one output is then a single run of bytes.
 */
#ifndef VP_NN_MVE_TURN_H
#define VP_NN_MVE_TURN_H

#include "vp/nn_mve.h"

/** Turns what output row `row` reads: p->columns columns of kernel_height * input_channels
 * bytes. */
void vp_nn_mve_turn(const vp_nn_mve_conv_2d *p, int32_t row, const vp_nn_rows *input,
                    int8_t *turned);

#endif
