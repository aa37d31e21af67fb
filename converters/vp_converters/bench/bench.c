/*
 * Measures one compiled model on inputs from a file of the host:
 * inputs.bin   inputs, at least one
 * outputs.bin  for each input: the output; the output again, of a run whose stages were timed one by
 *              one; and what stands at VP_BENCH_PROBE_OFFSET ahead of stage VP_BENCH_PROBE_STAGE
 * counts.bin   uint64: bytes of stack; instructions of each inference; then for all inputs together,
 *              stage by stage from 1 on, the instructions and the calls
 */
#include <stdio.h>
#include <string.h>

#include "machine.h"
#include "stack.h"
#include "vp/model.h"

extern const vp_model VP_BENCH_MODEL;

__attribute__((section(".arena"))) static vp_arena_t arena[VP_ARENA_WORDS(VP_BENCH_ARENA_SIZE)];
__attribute__((section(".arena"))) static int8_t input[VP_BENCH_INPUT_SIZE];
static int8_t probe[VP_BENCH_PROBE_SIZE];
static uint64_t spent[VP_BENCH_STAGES];
static uint64_t calls[VP_BENCH_STAGES];
static uint64_t reading;

static uint64_t measure_inference(void)
{
    const vp_target_time begin = vp_target_now();
    vp_model_invoke(&VP_BENCH_MODEL, arena, input);
    return vp_target_since(begin) - reading;
}

static void timed_run(uint32_t stage, int32_t row, vp_arena_t *memory)
{
    if (stage == VP_BENCH_PROBE_STAGE) {
        memcpy(probe, (const int8_t *)memory + VP_BENCH_PROBE_OFFSET, sizeof probe);
    }
    const vp_target_time begin = vp_target_now();
    VP_BENCH_MODEL.run(stage, row, memory);
    spent[stage] += vp_target_since(begin) - reading;
    calls[stage]++;
}

static int write_output(FILE *file)
{
    const int8_t *output = vp_model_output(&VP_BENCH_MODEL, arena);
    return fwrite(output, 1, VP_BENCH_MODEL.output.size, file) != VP_BENCH_MODEL.output.size;
}

static int write_count(FILE *file, uint64_t count)
{
    return fwrite(&count, sizeof count, 1, file) != 1;
}

static int measure(FILE *inputs, FILE *outputs, FILE *counts)
{
    vp_model timed = VP_BENCH_MODEL;
    timed.run = timed_run;
    if (fread(input, 1, sizeof input, inputs) != sizeof input ||
        write_count(counts, vp_target_stack(&VP_BENCH_MODEL, arena, input))) {
        return 3;
    }
    vp_target_start();
    reading = vp_target_since(vp_target_now());
    do {
        if (write_count(counts, measure_inference()) || write_output(outputs)) {
            return 4;
        }
        vp_model_invoke(&timed, arena, input);
        if (write_output(outputs) || fwrite(probe, 1, sizeof probe, outputs) != sizeof probe) {
            return 4;
        }
    } while (fread(input, 1, sizeof input, inputs) == sizeof input);
    for (uint32_t stage = 1; stage < VP_BENCH_STAGES; stage++) {
        if (write_count(counts, spent[stage]) || write_count(counts, calls[stage])) {
            return 4;
        }
    }
    return 0;
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
