/** Convolutions of a single pixel, four channels at a time. */
#ifndef VP_NN_DSP_QUARTETS_H
#define VP_NN_DSP_QUARTETS_H

#include "filters.h"

/** The output from the pixel's tile, of which up to 8 bytes behind are read. */
void vp_nn_dsp_run_pixel(const vp_nn_dsp_pixel *p, const int16_t *tile, int8_t *output);

#endif
