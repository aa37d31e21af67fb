#include "matmul.h"

void vp_nn_mve_fully_connected_run(const vp_nn_mve_fully_connected *p, const int8_t *input,
                                   int8_t *output)
{
    const vp_nn_mve_matmul m = {
        .output = &p->output,
        .weights = p->weights,
        .depth = p->depth,
        .channels = p->output_channels,
        .pixels = p->vectors,
        .step = p->depth,
    };
    vp_nn_mve_matmul_row(&m, input, output);
}
