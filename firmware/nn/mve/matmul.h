/** Rows of pixels against a matrix of weights [channels][depth]. */
#ifndef VP_NN_MVE_MATMUL_H
#define VP_NN_MVE_MATMUL_H

#include "output.h"

typedef struct vp_nn_mve_matmul {
    const vp_nn_mve_output *output;
    const int8_t *weights; /**< VP_NN_MVE_SLACK bytes more than channels * depth. */
    int32_t depth;
    int32_t channels; /**< At least 2. */
    int32_t pixels;   /**< Of the row. */
    int32_t step;     /**< Bytes between the inputs of two neighbouring pixels. */
} vp_nn_mve_matmul;

/** Makes pixels * channels numbers. */
void vp_nn_mve_matmul_row(const vp_nn_mve_matmul *m, const int8_t *x, int8_t *output);

#endif
