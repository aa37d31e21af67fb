/**
 * Strips of a depthwise convolution: for 16 channels and each column of the input, padding
 * included, a word for each channel with the pixels of up to 4 rows under the window. A gathering
 * load of 4 columns takes 4x4 pixels of one channel, and VMLADAV sums them up.
 */
#ifndef VP_NN_MVE_STRIPS_H
#define VP_NN_MVE_STRIPS_H

#include "optimize.h"
#include "vp/nn_mve.h"

#include <arm_mve.h>

#define VP_NN_MVE_STRIP_LANES 16
#define VP_NN_MVE_STRIP_ROWS 4
#define VP_NN_MVE_STRIP_COLUMN (VP_NN_MVE_STRIP_LANES * VP_NN_MVE_STRIP_ROWS) /* Bytes. */

/** Columns of the padding are filled once, by vp_nn_mve_strips_begin; those of the image for every
 * 16 channels. */
typedef struct vp_nn_mve_strips {
    const int8_t *data[VP_NN_MVE_STRIP_ROWS]; /**< The next channels of each row. */
    int32_t step[VP_NN_MVE_STRIP_ROWS];       /**< To the next column; 0 outside the image. */
    int32_t rows;                             /**< 1 .. 4. */
    int32_t inside;                           /**< Columns of the image. */
    int8_t *columns;                          /**< The first of them. */
    int8_t outside[VP_NN_MVE_STRIP_LANES];
} vp_nn_mve_strips;

/** Prepares for the `rows` rows from row `ky` of the window on of output row `row`. */
void vp_nn_mve_strips_begin(vp_nn_mve_strips *s, const vp_nn_mve_depthwise_conv_2d *p, int32_t row,
                            int32_t ky, int32_t rows, const vp_nn_rows *input, int8_t *strips);

/** Makes the strips of the next 16 channels, or of the `channels` that are left. */
void vp_nn_mve_strips_next(vp_nn_mve_strips *s, int32_t channels);

/** Which of the weights of a channel, [kernel_width][kernel_height] and a zero, belongs to each
 * byte of the 4x4 pixels of the window from (kx, ky) on. */
uint8x16_t vp_nn_mve_strips_weights(const vp_nn_window *w, int32_t kx, int32_t ky);

#endif
