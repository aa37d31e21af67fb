#include "node_state.h"
#include "vp/topk.h"

#define QUARTER_MS_US 250u

static void begin_work(vp_node *node)
{
    const vp_node_variant *variant = node->config.variant;
    const vp_node_input *input = &node->input;
    node->work = (vp_node_work){
        .phase = WORK_RESIZE,
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

static void resize_piece(vp_node *node)
{
    const vp_node_config *config = &node->config;
    const vp_resize *geometry = &node->work.geometry;
    const uint32_t first = node->work.next;
    const uint32_t left = geometry->crop_height - first;
    const uint32_t rows = left < VP_NODE_ROWS_PER_POLL ? left : VP_NODE_ROWS_PER_POLL;
    int8_t *out = vp_model_input(config->variant->model, config->arena) +
                  (size_t)first * geometry->crop_width * geometry->channels;

    /* It cannot fail: the model's side was checked at the start, the image's when it arrived. */
    (void)vp_resize_rows(geometry, config->input, config->variant->lut, first, rows, out);
    node->work.next = first + rows;
    if (node->work.next == geometry->crop_height) {
        node->work.phase = WORK_INFER;
        node->work.next = 0;
        node->input.state = INPUT_NONE;
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

int vp_node_work_piece(vp_node *node)
{
    const vp_model *model = node->config.variant->model;
    if (node->work.phase == WORK_NONE && node->input.state == INPUT_COMPLETE) {
        begin_work(node);
    }
    if (node->work.phase == WORK_RESIZE) {
        resize_piece(node);
    } else if (node->work.phase == WORK_INFER) {
        model->step(node->work.next, node->config.arena);
        node->work.next++;
        if (node->work.next == model->step_count) {
            answer(node);
        }
    }
    return node->work.phase != WORK_NONE || node->input.state == INPUT_COMPLETE;
}
