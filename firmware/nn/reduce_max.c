#include <string.h>

#include "vp/nn.h"

void vp_nn_reduce_max_run(const vp_nn_reduction *p, const int8_t *input, int8_t *output)
{
    for (int32_t outer = 0; outer < p->outer; outer++) {
        memset(output, INT8_MIN, (size_t)p->inner);
        for (int32_t r = 0; r < p->reduced; r++) {
            for (int32_t i = 0; i < p->inner; i++) {
                output[i] = input[i] > output[i] ? input[i] : output[i];
            }
            input += p->inner;
        }
        output += p->inner;
    }
}
