#include <string.h>

#include "vp/nn.h"

static int8_t *fill(int8_t *output, int32_t value, int32_t size)
{
    memset(output, value, (size_t)size);
    return output + size;
}

void vp_nn_pad_run(const vp_nn_pad *p, const int8_t *input, int8_t *output)
{
    const int32_t row = p->before[3] + p->input_dims[3] + p->after[3];
    const int32_t plane = (p->before[2] + p->input_dims[2] + p->after[2]) * row;
    const int32_t volume = (p->before[1] + p->input_dims[1] + p->after[1]) * plane;

    output = fill(output, p->value, p->before[0] * volume);
    for (int32_t i0 = 0; i0 < p->input_dims[0]; i0++) {
        output = fill(output, p->value, p->before[1] * plane);
        for (int32_t i1 = 0; i1 < p->input_dims[1]; i1++) {
            output = fill(output, p->value, p->before[2] * row);
            for (int32_t i2 = 0; i2 < p->input_dims[2]; i2++) {
                output = fill(output, p->value, p->before[3]);
                memcpy(output, input, (size_t)p->input_dims[3]);
                input += p->input_dims[3];
                output = fill(output + p->input_dims[3], p->value, p->after[3]);
            }
            output = fill(output, p->value, p->after[2] * row);
        }
        output = fill(output, p->value, p->after[1] * plane);
    }
    fill(output, p->value, p->after[0] * volume);
}
