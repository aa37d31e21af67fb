/*
 * Measures the model on inputs from a file of the host:
 * inputs.bin   all inputs
 * outputs.bin  for each input: the output; the output again, of a run whose operators were timed one
 *              by one
 * counts.bin   uint64: instructions that starting the interpreter takes; bytes of stack of an
 *              inference; instructions of each inference; then those of each operator, for all inputs
 *              together
 */
#include <stdio.h>

#include "machine.h"
#include "stack.h"
#include "vp/model.h"
#include "vp_tflm.h"

extern const vp_model VP_BENCH_MODEL;

__attribute__((section(".arena"))) static vp_arena_t arena[VP_ARENA_WORDS(VP_BENCH_ARENA_SIZE)];
__attribute__((section(".arena"))) static int8_t input[VP_BENCH_INPUT_SIZE];
static uint64_t spent[VP_BENCH_OPERATORS];
static uint64_t reading;

static struct {
    int on;
    uint32_t count; /* of operators that have begun */
    vp_target_time begin;
} timing;

static void end_operator(void)
{
    if (timing.count > 0 && timing.count <= VP_BENCH_OPERATORS) {
        spent[timing.count - 1u] += vp_target_since(timing.begin) - reading;
    }
}

void vp_tflm_before_operator(const char *name)
{
    (void)name;
    if (timing.on) {
        end_operator();
        timing.count++;
        timing.begin = vp_target_now();
    }
}

static uint64_t measure_inference(void)
{
    const vp_target_time begin = vp_target_now();
    vp_model_invoke(&VP_BENCH_MODEL, arena, input);
    return vp_target_since(begin) - reading;
}

static void time_operators(void)
{
    timing.on = 1;
    timing.count = 0;
    vp_model_invoke(&VP_BENCH_MODEL, arena, input);
    end_operator();
    timing.on = 0;
}

static int write_output(FILE *file)
{
    const uint32_t size = VP_BENCH_MODEL.output.size;
    return !vp_model_done(&VP_BENCH_MODEL, arena) ||
           fwrite(vp_model_output(&VP_BENCH_MODEL, arena), 1, size, file) != size;
}

static int write_count(FILE *file, uint64_t count)
{
    return fwrite(&count, sizeof count, 1, file) != 1;
}

static int start(FILE *counts)
{
    vp_target_start();
    reading = vp_target_since(vp_target_now());
    const vp_target_time begin = vp_target_now();
    if (vp_model_begin(&VP_BENCH_MODEL, arena) != 0) {
        return 3;
    }
    const uint64_t setup = vp_target_since(begin) - reading;
    const uint64_t stack = vp_target_stack(&VP_BENCH_MODEL, arena, input);
    return write_count(counts, setup) || write_count(counts, stack) ? 4 : 0;
}

static int measure(FILE *inputs, FILE *outputs, FILE *counts)
{
    int err = start(counts);
    while (err == 0 && fread(input, 1, sizeof input, inputs) == sizeof input) {
        if (write_count(counts, measure_inference()) || write_output(outputs)) {
            return 4;
        }
        time_operators();
        err = write_output(outputs) ? 4 : 0;
    }
    for (uint32_t i = 0; i < VP_BENCH_OPERATORS && err == 0; i++) {
        err = write_count(counts, spent[i]) ? 4 : 0;
    }
    return err;
}

int main(void)
{
    FILE *inputs = fopen("inputs.bin", "rb");
    FILE *outputs = fopen("outputs.bin", "wb");
    FILE *counts = fopen("counts.bin", "wb");
    if (inputs == NULL || outputs == NULL || counts == NULL) {
        return 2;
    }
    const int err = measure(inputs, outputs, counts);
    if (err) {
        return err;
    }
    return fclose(outputs) != 0 || fclose(counts) != 0 ? 4 : 0;
}
