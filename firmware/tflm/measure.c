/*
 * Finds the smallest arena that it has seen a whole inference succeed in, and writes it to arena.txt.
 *
 * What the interpreter says that it took is where the search begins: operators may ask for more
 * memory while they run. The answer must be the one that the largest arena gives.
 */
#include <stdio.h>
#include <string.h>

#include "vp/model.h"
#include "vp_tflm.h"

#define GRAIN 16u

extern const vp_model VP_BENCH_MODEL;

/* Half a grain off: the worst alignment that a vp_arena_t may have. */
__attribute__((section(".arena"), aligned(GRAIN))) static uint8_t memory[VP_BENCH_ARENA_SIZE + GRAIN];
__attribute__((section(".arena"))) static int8_t input[VP_BENCH_INPUT_SIZE];
__attribute__((section(".arena"))) static int8_t expected[VP_BENCH_OUTPUT_SIZE];

void vp_tflm_before_operator(const char *name)
{
    (void)name;
}

static void make_input(size_t size)
{
    uint32_t state = 1;
    for (size_t i = 0; i < size; i++) {
        state = state * 1664525u + 1013904223u;
        input[i] = (int8_t)(state >> 24);
    }
}

/* @return the output, or NULL if the runtime refuses. */
static const int8_t *infer(const vp_model *model, vp_arena_t *arena)
{
    memset(arena, 0x5A, model->arena_size);
    if (vp_model_begin(model, arena) != 0) {
        return NULL;
    }
    vp_model_invoke(model, arena, input);
    return vp_model_done(model, arena) ? vp_model_output(model, arena) : NULL;
}

int main(void)
{
    vp_arena_t *arena = (vp_arena_t *)(void *)(memory + sizeof(vp_arena_t));
    vp_model candidate = VP_BENCH_MODEL;
    candidate.arena_size = VP_BENCH_ARENA_SIZE;
    make_input(candidate.input.size);
    const int8_t *output = infer(&candidate, arena);
    if (output == NULL) {
        return 2;
    }
    memcpy(expected, output, candidate.output.size);
    const uint32_t used = (uint32_t)(vp_tflm_arena_used() + GRAIN - 1u) / GRAIN * GRAIN;
    uint32_t extra = 0;
    do {
        candidate.arena_size = used + extra;
        if (candidate.arena_size > VP_BENCH_ARENA_SIZE) {
            return 3;
        }
        output = infer(&candidate, arena);
        extra = extra == 0 ? GRAIN : 2u * extra;
    } while (output == NULL || memcmp(output, expected, candidate.output.size) != 0);
    FILE *file = fopen("arena.txt", "w");
    if (file == NULL || fprintf(file, "%lu\n", (unsigned long)candidate.arena_size) < 0) {
        return 4;
    }
    return fclose(file) != 0 ? 5 : 0;
}
