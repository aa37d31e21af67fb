/*
 * Runs compiled models on inputs from files of the host:
 * inputs.bin   for each model: uint32 number of inputs; then all inputs, model by model
 * outputs.bin  all outputs in the same order
 * ticks.bin    for each inference: uint32 ticks of the machine's counter
 */
#include <stdio.h>

#include "machine.h"
#include "vp/model.h"

extern const vp_model *const vp_target_models[];
extern const uint32_t vp_target_model_count;

__attribute__((section(".arena"))) static vp_arena_t arena[VP_ARENA_WORDS(VP_TARGET_ARENA_SIZE)];
static uint32_t counts[VP_TARGET_MAX_MODELS];

static uint32_t ticks_of_inference(const vp_model *model)
{
    const uint32_t before = vp_target_now();
    vp_model_invoke(model, arena);
    return (before - vp_target_now()) & VP_TARGET_TICK_MASK;
}

static int run_model(const vp_model *model, uint32_t count, FILE *inputs, FILE *outputs, FILE *ticks)
{
    if (model->arena_size > sizeof arena) {
        return 4;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (fread(vp_model_input(model, arena), 1, model->input.size, inputs) != model->input.size) {
            return 5;
        }
        const uint32_t spent = ticks_of_inference(model);
        if (fwrite(vp_model_output(model, arena), 1, model->output.size, outputs) !=
                model->output.size ||
            fwrite(&spent, sizeof spent, 1, ticks) != 1) {
            return 6;
        }
    }
    return 0;
}

int main(void)
{
    FILE *inputs = fopen("inputs.bin", "rb");
    FILE *outputs = fopen("outputs.bin", "wb");
    FILE *ticks = fopen("ticks.bin", "wb");
    if (inputs == NULL || outputs == NULL || ticks == NULL) {
        return 2;
    }
    if (fread(counts, sizeof counts[0], vp_target_model_count, inputs) != vp_target_model_count) {
        return 3;
    }
    for (uint32_t i = 0; i < vp_target_model_count; i++) {
        const int err = run_model(vp_target_models[i], counts[i], inputs, outputs, ticks);
        if (err) {
            return err;
        }
    }
    return fclose(outputs) != 0 || fclose(ticks) != 0 ? 7 : 0;
}
