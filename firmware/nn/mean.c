#include "mean.h"

static void run_lanes(const vp_nn_mean *p, const int8_t *input, int32_t lanes, int8_t *output)
{
    int32_t sums[VP_NN_LANES] = {0};
    for (int32_t r = 0; r < p->shape.reduced; r++) {
        for (int32_t i = 0; i < lanes; i++) {
            sums[i] += input[i];
        }
        input += p->shape.inner;
    }
    for (int32_t i = 0; i < lanes; i++) {
        output[i] = vp_nn_mean_of(p, sums[i]);
    }
}

void vp_nn_mean_run(const vp_nn_mean *p, const int8_t *input, int8_t *output)
{
    const vp_nn_reduction *shape = &p->shape;
    for (int32_t outer = 0; outer < shape->outer; outer++) {
        for (int32_t first = 0; first < shape->inner; first += VP_NN_LANES) {
            const int32_t left = shape->inner - first;
            run_lanes(p, input + first, left < VP_NN_LANES ? left : VP_NN_LANES, output + first);
        }
        input += shape->reduced * shape->inner;
        output += shape->inner;
    }
}
