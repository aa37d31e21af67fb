#include "node_state.h"
#include "vp/topk.h"

#define QUARTER_MS_US 250u

/* Whether all that row `row` of the model's input is made of is here. */
static int row_here(const vp_node_input *input, uint32_t row)
{
    if (input->state == INPUT_NONE || input->state == INPUT_COMPLETE) {
        return input->state == INPUT_COMPLETE;
    }
    const vp_resize *geometry = &input->geometry;
    const uint32_t row_size = (uint32_t)geometry->source_width * geometry->channels;
    return vp_resize_reach(geometry, row) * row_size <= input->here;
}

/* Whether there is something to do before another chunk comes. */
static int can_work(const vp_node *node)
{
    const vp_model *model = node->config.variant->model;
    if (node->work.phase == WORK_INFER) {
        return 1;
    }
    if (node->work.phase == WORK_NONE) {
        return row_here(&node->input, 0);
    }
    if (vp_model_row_wanted(model, node->config.arena) != NULL) {
        return row_here(&node->input, vp_model_row_number(model, node->config.arena));
    }
    return node->input.state == INPUT_COMPLETE || !vp_model_done(model, node->config.arena);
}

/* @return 0, or negative if the runtime refuses. */
static int begin_work(vp_node *node)
{
    const vp_node_input *input = &node->input;
    node->work = (vp_node_work){
        .phase = WORK_INPUT,
        .k = input->k,
        .request = input->request,
        .chunks = input->chunks,
    };
    return vp_model_begin(node->config.variant->model, node->config.arena);
}

static void release_input(vp_node *node)
{
    if (node->work.phase == WORK_INPUT) {
        node->work.phase = WORK_INFER;
        node->work.link = node->input.link;
        node->work.complete_us = node->input.complete_us;
        vp_node_drop_input(node);
    }
}

/* Runs a step, or resizes the row of the model's input that is wanted into its place.
 * @return 0, or negative if the runtime failed. */
static int infer_piece(vp_node *node)
{
    const vp_node_config *config = &node->config;
    const vp_model *model = config->variant->model;
    int8_t *row = vp_model_row_wanted(model, config->arena);
    if (row == NULL) {
        const int ran = vp_model_step(model, config->arena);
        return ran < 0 ? ran : 0;
    }
    /* It cannot fail: the model's side was checked at the start, the image's when it arrived. */
    (void)vp_resize_rows(&node->input.geometry, config->input, config->variant->lut,
                         vp_model_row_number(model, config->arena), 1, row);
    vp_model_row_given(model, config->arena);
    return 0;
}

/* Whether the model will want no more rows. It may be done before the last one, or without it. */
static int has_all_rows(const vp_node *node)
{
    const vp_model *model = node->config.variant->model;
    return vp_model_done(model, node->config.arena) ||
           vp_model_row_number(model, node->config.arena) == model->input.dims[1];
}

static void answer(vp_node *node)
{
    const vp_model *model = node->config.variant->model;
    const uint64_t quarters = (vp_node_now(node) - node->work.complete_us) / QUARTER_MS_US;
    vp_prediction prediction = {
        .request = node->work.request,
        .time_quarter_ms = (uint16_t)(quarters < 65535u ? quarters : 65535u),
        .k = node->work.k,
    };
    vp_topk_entry best[VP_WIRE_MAX_K];
    vp_topk_select(vp_model_output(model, node->config.arena), model->output.size, prediction.k,
                   best);
    for (unsigned i = 0; i < prediction.k; i++) {
        prediction.entries[i] = (vp_entry){.index = best[i].index, .score = best[i].score};
    }
    node->work.phase = WORK_NONE;
    vp_node_answer_prediction(node, node->work.link, &prediction, node->work.chunks);
}

static void fail(vp_node *node)
{
    release_input(node);
    node->work.phase = WORK_NONE;
    vp_node_refuse(node, node->work.link, node->work.request, VP_ERROR_MODEL);
}

static void work(vp_node *node)
{
    int err = node->work.phase == WORK_NONE ? begin_work(node) : 0;
    if (!err) {
        err = infer_piece(node);
    }
    if (err) {
        fail(node);
        return;
    }
    /* Even if the rows that count are here, there is no answer to an input that is not complete. */
    if (node->input.state == INPUT_COMPLETE && has_all_rows(node)) {
        release_input(node);
    }
    if (node->work.phase == WORK_INFER &&
        vp_model_done(node->config.variant->model, node->config.arena)) {
        answer(node);
    }
}

int vp_node_work_piece(vp_node *node)
{
    if (can_work(node)) {
        work(node);
    }
    return can_work(node);
}
