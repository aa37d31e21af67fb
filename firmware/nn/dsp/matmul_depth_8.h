/** The core for the expansions of narrow images, which have few channels. */
#ifndef VP_NN_DSP_MATMUL_DEPTH_8_H
#define VP_NN_DSP_MATMUL_DEPTH_8_H

#include "matmul.h"

/** vp_nn_dsp_matmul_4 for a depth of 8 and the mode VP_NN_DSP_INT16. */
void vp_nn_dsp_matmul_4_depth_8(const vp_nn_dsp_matmul *p);

#endif
