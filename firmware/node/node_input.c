#include <string.h>

#include "node_state.h"

int vp_node_chunk_here(const vp_node *node, uint32_t chunk)
{
    return ((unsigned)node->config.chunk_map[chunk / 8u] >> chunk % 8u & 1u) != 0u;
}

/* @return enum vp_error_code, or 0 if the node can work on such an input. */
static uint8_t refusal(const vp_node *node, const vp_input *chunk)
{
    const vp_model *model = node->config.variant->model;
    if (chunk->channels != model->input.dims[3] || chunk->height < 1u || chunk->width < 1u ||
        chunk->height > VP_RESIZE_MAX_SIDE || chunk->width > VP_RESIZE_MAX_SIDE) {
        return VP_ERROR_SHAPE;
    }
    if ((uint64_t)chunk->height * chunk->width * chunk->channels > node->config.input_capacity) {
        return VP_ERROR_TOO_LARGE;
    }
    return vp_node_k_ok(node, chunk->k) ? 0 : VP_ERROR_K;
}

int vp_node_k_ok(const vp_node *node, uint8_t k)
{
    return k >= 1u && k <= VP_WIRE_MAX_K && k <= node->config.variant->model->output.size;
}

void vp_node_set_geometry(vp_node *node, uint16_t height, uint16_t width)
{
    const vp_node_variant *variant = node->config.variant;
    node->input.geometry = (vp_resize){
        .source_height = height,
        .source_width = width,
        .crop_height = (uint16_t)variant->model->input.dims[1],
        .crop_width = (uint16_t)variant->model->input.dims[2],
        .margin = variant->margin,
        .crop_top = variant->crop_top,
        .crop_left = variant->crop_left,
        .channels = (uint8_t)variant->model->input.dims[3],
    };
}

void vp_node_drop_input(vp_node *node)
{
    if (node->input.state == INPUT_CAPTURING) {
        node->config.port.capture_cancel(node->config.port.context);
    }
    node->input.state = INPUT_NONE;
}

/* A complete input that is being worked on, or whose turn it is, is not replaced: the inference goes on at
 * once until it needs the buffer no more. One that is not complete is given up, and the inference on it. */
void vp_node_free_input(vp_node *node)
{
    vp_node_input *input = &node->input;
    while (input->state == INPUT_COMPLETE && node->work.phase != WORK_INFER) {
        (void)vp_node_work_piece(node);
    }
    if (input->state != INPUT_NONE) {
        vp_node_send_error(node, input->link, input->request, VP_ERROR_SUPERSEDED);
    }
    if (node->work.phase == WORK_INPUT) {
        node->work.phase = WORK_NONE;
    }
    vp_node_drop_input(node);
    memset(input, 0, sizeof(*input));
}

static void begin_input(vp_node *node, enum vp_node_link link, const vp_input *chunk)
{
    vp_node_input *input = &node->input;
    vp_node_free_input(node);
    input->state = INPUT_RECEIVING;
    input->request = chunk->request;
    input->k = chunk->k;
    input->link = link;
    input->size = (uint32_t)chunk->height * chunk->width * chunk->channels;
    input->chunks = VP_NODE_CHUNKS(input->size);
    vp_node_set_geometry(node, chunk->height, chunk->width);
    memset(node->config.chunk_map, 0, VP_NODE_CHUNK_MAP_SIZE(input->size));
}

/* @return 0 if the chunk contradicts what the request is known to be. */
static int fits_input(const vp_node_input *input, const vp_input *chunk)
{
    const vp_resize *geometry = &input->geometry;
    const int captured = input->chunks == 0u;
    if (captured || chunk->height != geometry->source_height || chunk->width != geometry->source_width ||
        chunk->channels != geometry->channels || chunk->k != input->k) {
        return 0;
    }
    if (chunk->data_size == 0u) {
        return 1;
    }
    if (chunk->chunk >= input->chunks) {
        return 0;
    }
    const uint32_t left = input->size - (uint32_t)chunk->chunk * VP_WIRE_CHUNK_SIZE;
    return chunk->data_size == (left < VP_WIRE_CHUNK_SIZE ? left : VP_WIRE_CHUNK_SIZE);
}

static void store(vp_node *node, const vp_input *chunk)
{
    vp_node_input *input = &node->input;
    uint8_t *map = &node->config.chunk_map[chunk->chunk / 8u];
    if (input->state != INPUT_RECEIVING || chunk->data_size == 0u ||
        vp_node_chunk_here(node, chunk->chunk)) {
        return;
    }
    memcpy(node->config.input + (size_t)chunk->chunk * VP_WIRE_CHUNK_SIZE, chunk->data,
           chunk->data_size);
    *map = (uint8_t)(*map | 1u << chunk->chunk % 8u);
    input->received++;
    while (input->prefix < input->chunks && vp_node_chunk_here(node, input->prefix)) {
        input->prefix++;
    }
    input->here = input->prefix * VP_WIRE_CHUNK_SIZE;
    if (input->received == input->chunks) {
        input->state = INPUT_COMPLETE;
        input->complete_us = vp_node_now(node);
    }
}

void vp_node_report_past(vp_node *node, enum vp_node_link link, uint16_t request)
{
    const vp_node_answer *answer = vp_node_find_answer(node, request);
    if (node->work.phase == WORK_INFER && request == node->work.request) {
        node->work.link = link;
        /* 1 for a capture: it had begun before. */
        vp_node_send_sack(node, link, request, node->work.chunks != 0u ? node->work.chunks : 1u);
    } else if (answer != NULL) {
        vp_node_send_answer_again(node, link, answer);
    } else {
        vp_node_send_error(node, link, request, VP_ERROR_SUPERSEDED);
    }
}

int vp_node_is_new(const vp_node *node, uint16_t request)
{
    const uint16_t ahead = (uint16_t)(request - node->latest);
    return !node->has_latest || (ahead != 0u && ahead < 0x8000u);
}

void vp_node_take_chunk(vp_node *node, enum vp_node_link link, const vp_input *chunk)
{
    vp_node_input *input = &node->input;
    const int report = (chunk->flags & VP_INPUT_REPORT) != 0;

    if (vp_node_is_new(node, chunk->request)) {
        const uint8_t code = refusal(node, chunk);
        node->has_latest = 1;
        node->latest = chunk->request;
        if (code != 0u) {
            vp_node_refuse(node, link, chunk->request, code);
            return;
        }
        begin_input(node, link, chunk);
    } else if (input->state == INPUT_NONE || chunk->request != input->request) {
        if (report) {
            vp_node_report_past(node, link, chunk->request);
        }
        return;
    }
    if (!fits_input(input, chunk)) {
        vp_node_count_damaged(node);
        return;
    }
    input->link = link;
    input->reports = 0;
    input->heard_us = vp_node_now(node);
    store(node, chunk);
    if (report) {
        vp_node_send_sack_of_input(node);
    }
}

void vp_node_note_traffic(vp_node *node, enum vp_node_link link)
{
    if (node->input.state == INPUT_RECEIVING && node->input.link == link) {
        node->input.heard_us = vp_node_now(node);
    }
}

void vp_node_check_gap(vp_node *node)
{
    vp_node_input *input = &node->input;
    if (input->state != INPUT_RECEIVING || input->reports >= VP_NODE_GAP_REPORTS) {
        return;
    }
    const uint64_t now = vp_node_now(node);
    if (now - input->heard_us >= VP_NODE_GAP_MS * 1000u) {
        input->heard_us = now;
        input->reports++;
        vp_node_send_sack_of_input(node);
    }
}
