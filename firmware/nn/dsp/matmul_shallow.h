/** The core for the expansions of images that are still large, which have few channels. */
#ifndef VP_NN_DSP_MATMUL_SHALLOW_H
#define VP_NN_DSP_MATMUL_SHALLOW_H

#include "matmul.h"

/** vp_nn_dsp_matmul_4 for the mode VP_NN_DSP_PLANAR16 and a depth of 8 or 16. */
void vp_nn_dsp_matmul_4_depth_8(const vp_nn_dsp_matmul *p);
void vp_nn_dsp_matmul_4_depth_16(const vp_nn_dsp_matmul *p);

#endif
