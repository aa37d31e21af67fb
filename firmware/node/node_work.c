#include "node_state.h"
#include "vp/topk.h"

#define QUARTER_MS_US 250u

static void begin_work(vp_node *node)
{
    const vp_node_variant *variant = node->config.variant;
    const vp_node_input *input = &node->input;
    node->work = (vp_node_work){
        .phase = WORK_INPUT,
        .k = input->k,
        .request = input->request,
        .link = input->link,
        .chunks = input->chunks,
        .complete_us = input->complete_us,
        .geometry =
            {
                .source_height = input->height,
                .source_width = input->width,
                .crop_height = (uint16_t)variant->model->input.dims[1],
                .crop_width = (uint16_t)variant->model->input.dims[2],
                .margin = variant->margin,
                .crop_top = variant->crop_top,
                .crop_left = variant->crop_left,
                .channels = input->channels,
            },
    };
}

static void release_input(vp_node *node)
{
    if (node->work.phase == WORK_INPUT) {
        node->work.phase = WORK_INFER;
        node->input.state = INPUT_NONE;
    }
}

/* The row of the model's input that is wanted, resized into its place. */
static void give_row(vp_node *node, int8_t *row)
{
    const vp_node_config *config = &node->config;
    const vp_model *model = config->variant->model;
    const uint32_t number = vp_model_row_number(model, config->arena);

    /* It cannot fail: the model's side was checked at the start, the image's when it arrived. */
    (void)vp_resize_rows(&node->work.geometry, config->input, config->variant->lut, number, 1, row);
    vp_model_row_given(model, config->arena);
    if (number + 1u == node->work.geometry.crop_height) {
        release_input(node);
    }
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

/* @return 0, or negative if the runtime failed. */
static int infer_piece(vp_node *node)
{
    const vp_model *model = node->config.variant->model;
    int8_t *row = vp_model_row_wanted(model, node->config.arena);
    if (row != NULL) {
        give_row(node, row);
        return 0;
    }
    const int ran = vp_model_step(model, node->config.arena);
    return ran < 0 ? ran : 0;
}

static void fail(vp_node *node)
{
    release_input(node);
    node->work.phase = WORK_NONE;
    vp_node_refuse(node, node->work.link, node->work.request, VP_ERROR_MODEL);
}

int vp_node_work_piece(vp_node *node)
{
    const vp_model *model = node->config.variant->model;
    int err = 0;
    if (node->work.phase == WORK_NONE && node->input.state == INPUT_COMPLETE) {
        begin_work(node);
        err = vp_model_begin(model, node->config.arena);
    }
    if (node->work.phase != WORK_NONE && err == 0) {
        err = infer_piece(node);
    }
    if (err) {
        fail(node);
    } else if (node->work.phase != WORK_NONE && vp_model_done(model, node->config.arena)) {
        release_input(node);
        answer(node);
    }
    return node->work.phase != WORK_NONE || node->input.state == INPUT_COMPLETE;
}
