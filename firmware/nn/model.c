#include "vp/model.h"

#include <string.h>

/* What the first bytes of an arena hold: the place in the schedule, and how many rows each stage has
 * made. The compiler reserves 4 + 2 * stage_count bytes. */
typedef struct progress {
    uint16_t entry;
    uint16_t calls; /* made of this entry */
    uint16_t rows[];
} progress;

static progress *progress_of(vp_arena_t *arena)
{
    return (progress *)(void *)arena;
}

static const progress *progress_in(const vp_arena_t *arena)
{
    return (const progress *)(const void *)arena;
}

static uint32_t stage_at(const vp_model *model, const progress *at)
{
    return model->schedule[at->entry] & ((1u << VP_MODEL_STAGE_BITS) - 1u);
}

static int wants_row(const vp_model *model, const progress *at)
{
    return at->entry < model->schedule_size && stage_at(model, at) == VP_MODEL_INPUT;
}

static void advance(const vp_model *model, progress *at, uint32_t stage)
{
    at->rows[stage]++;
    if (at->calls++ == model->schedule[at->entry] >> VP_MODEL_STAGE_BITS) {
        at->calls = 0;
        at->entry++;
    }
}

int vp_model_begin(const vp_model *model, vp_arena_t *arena)
{
    memset(arena, 0, sizeof(progress) + model->stage_count * sizeof(uint16_t));
    return 0;
}

int8_t *vp_model_row_wanted(const vp_model *model, vp_arena_t *arena)
{
    const progress *at = progress_of(arena);
    if (!wants_row(model, at)) {
        return NULL;
    }
    const uint32_t slot = at->rows[VP_MODEL_INPUT] % model->input_ring;
    return (int8_t *)arena + model->input.offset + slot * model->input_row_size;
}

void vp_model_row_given(const vp_model *model, vp_arena_t *arena)
{
    progress *at = progress_of(arena);
    if (wants_row(model, at)) {
        advance(model, at, VP_MODEL_INPUT);
    }
}

uint32_t vp_model_row_number(const vp_model *model, const vp_arena_t *arena)
{
    (void)model;
    return progress_in(arena)->rows[VP_MODEL_INPUT];
}

int vp_model_step(const vp_model *model, vp_arena_t *arena)
{
    progress *at = progress_of(arena);
    if (at->entry >= model->schedule_size) {
        return 0;
    }
    const uint32_t stage = stage_at(model, at);
    if (stage == VP_MODEL_INPUT) {
        return 0;
    }
    model->run(stage, at->rows[stage], arena);
    advance(model, at, stage);
    return 1;
}

int vp_model_done(const vp_model *model, const vp_arena_t *arena)
{
    return progress_in(arena)->entry >= model->schedule_size;
}

void vp_model_invoke(const vp_model *model, vp_arena_t *arena, const int8_t *input)
{
    (void)vp_model_begin(model, arena);
    while (!vp_model_done(model, arena)) {
        int8_t *row = vp_model_row_wanted(model, arena);
        if (row == NULL) {
            vp_model_step(model, arena);
        } else {
            memcpy(row, input, model->input_row_size);
            input += model->input_row_size;
            vp_model_row_given(model, arena);
        }
    }
}

const int8_t *vp_model_output(const vp_model *model, const vp_arena_t *arena)
{
    return (const int8_t *)arena + model->output.offset;
}
