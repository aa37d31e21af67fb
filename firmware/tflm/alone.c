/* The least program around the model: what is linked with it is what model and runtime need. */
#include "vp/model.h"
#include "vp_tflm.h"

extern const vp_model VP_BENCH_MODEL;
const int8_t *vp_tflm_alone(vp_arena_t *arena, const int8_t *input);
void abort(void);

void vp_tflm_before_operator(const char *name)
{
    (void)name;
}

void vp_tflm_log(const char *format, va_list arguments)
{
    (void)format;
    (void)arguments;
}

void abort(void)
{
    for (;;) {
    }
}

const int8_t *vp_tflm_alone(vp_arena_t *arena, const int8_t *input)
{
    vp_model_invoke(&VP_BENCH_MODEL, arena, input);
    return vp_model_output(&VP_BENCH_MODEL, arena);
}
