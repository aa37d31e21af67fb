/** 1x1 convolutions of NHWC pixels. */
#ifndef VP_NN_DSP_TILES_H
#define VP_NN_DSP_TILES_H

#include "filters.h"

/** One output row from the pixels at `source`; scratch as vp_nn_dsp_conv_1x1_row says. */
void vp_nn_dsp_convolve_pixels(const vp_nn_dsp_conv_1x1 *p, const int8_t *source, int8_t *scratch,
                               int8_t *output);

#endif
