/* The least program around a model: what is linked with it is what the model needs. */
#include "vp/model.h"

extern const vp_model VP_BENCH_MODEL;
const int8_t *vp_bench_alone(vp_arena_t *arena, const int8_t *input);

const int8_t *vp_bench_alone(vp_arena_t *arena, const int8_t *input)
{
    vp_model_invoke(&VP_BENCH_MODEL, arena, input);
    return vp_model_output(&VP_BENCH_MODEL, arena);
}
