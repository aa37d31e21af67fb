/*
 * Runs compiled models on inputs from files of the host:
 * inputs.bin        for each model: uint32 number of inputs; then all inputs, model by model
 * outputs.bin       all outputs in the same order
 * instructions.bin  for each inference: uint64 guest instructions
 */
#include <stdio.h>

#include "machine.h"
#include "vp/model.h"

extern const vp_model *const vp_target_models[];
extern const uint32_t vp_target_model_count;

__attribute__((section(".arena"))) static vp_arena_t arena[VP_ARENA_WORDS(VP_TARGET_ARENA_SIZE)];
__attribute__((section(".arena"))) static int8_t input[VP_TARGET_INPUT_SIZE];
static uint32_t counts[VP_TARGET_MAX_MODELS];

static uint64_t instructions_of_inference(const vp_model *model)
{
    const uint64_t reading = vp_target_since(vp_target_now());
    const vp_target_time begin = vp_target_now();
    vp_model_invoke(model, arena, input);
    return vp_target_since(begin) - reading;
}

static int run_model(const vp_model *model, uint32_t count, FILE *inputs, FILE *outputs,
                     FILE *instructions)
{
    if (model->arena_size > sizeof arena || model->input.size > sizeof input) {
        return 4;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (fread(input, 1, model->input.size, inputs) != model->input.size) {
            return 5;
        }
        const uint64_t spent = instructions_of_inference(model);
        if (fwrite(vp_model_output(model, arena), 1, model->output.size, outputs) !=
                model->output.size ||
            fwrite(&spent, sizeof spent, 1, instructions) != 1) {
            return 6;
        }
    }
    return 0;
}

int main(void)
{
    FILE *inputs = fopen("inputs.bin", "rb");
    FILE *outputs = fopen("outputs.bin", "wb");
    FILE *instructions = fopen("instructions.bin", "wb");
    if (inputs == NULL || outputs == NULL || instructions == NULL) {
        return 2;
    }
    if (fread(counts, sizeof counts[0], vp_target_model_count, inputs) != vp_target_model_count) {
        return 3;
    }
    vp_target_start();
    for (uint32_t i = 0; i < vp_target_model_count; i++) {
        const int err = run_model(vp_target_models[i], counts[i], inputs, outputs, instructions);
        if (err) {
            return err;
        }
    }
    return fclose(outputs) != 0 || fclose(instructions) != 0 ? 7 : 0;
}
