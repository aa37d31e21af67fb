#include "matmul.h"

void vp_nn_fully_connected_run(const vp_nn_fully_connected *p, const int8_t *input, int8_t *output)
{
    for (int32_t vector = 0; vector < p->vectors; vector++) {
        vp_nn_matmul_pixel(&p->output, input, p->weights, p->depth, 0, p->output_channels, output);
        input += p->depth;
        output += p->output_channels;
    }
}
