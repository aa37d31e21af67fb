/* An input from the board's own source. */
#include <string.h>

#include "node_state.h"

static int has_source(const vp_node *node)
{
    return node->config.port.capture_begin != NULL;
}

/* Whether the source chose a shape that the node can work on. */
static int shape_ok(const vp_capture *capture)
{
    return capture->height >= 1u && capture->height <= VP_RESIZE_MAX_SIDE && capture->width >= 1u &&
           capture->width <= VP_RESIZE_MAX_SIDE &&
           (uint64_t)capture->height * capture->width * capture->channels <= capture->capacity;
}

/* @return enum vp_error_code, or 0: the capture began. */
static uint8_t begin_capture(vp_node *node, enum vp_node_link link, const vp_trigger *trigger)
{
    const vp_node_config *config = &node->config;
    const uint32_t channels = config->variant->model->input.dims[3];
    vp_node_input *input = &node->input;
    vp_capture *capture = &node->capture;
    vp_node_free_input(node);
    *capture = (vp_capture){
        .node = config->identity->node,
        .request = trigger->request,
        .channels = (uint8_t)channels,
        .height = config->variant->input_height,
        .width = config->variant->input_width,
        .pixels = config->input,
        .capacity = config->input_capacity,
    };
    if (config->port.capture_begin(config->port.context, capture) != 0) {
        return VP_ERROR_CAPTURE;
    }
    if (!shape_ok(capture)) {
        config->port.capture_cancel(config->port.context);
        return VP_ERROR_CAPTURE;
    }
    input->state = INPUT_CAPTURING;
    input->request = trigger->request;
    input->k = trigger->k;
    input->link = link;
    input->size = (uint32_t)capture->height * capture->width * channels;
    input->heard_us = vp_node_now(node);
    vp_node_set_geometry(node, capture->height, capture->width);
    return 0;
}

void vp_node_take_trigger(vp_node *node, enum vp_node_link link, const vp_trigger *trigger)
{
    vp_node_input *input = &node->input;
    const int report = (trigger->flags & VP_TRIGGER_REPORT) != 0;

    if (!has_source(node)) {
        if (report) {
            vp_node_send_error(node, link, trigger->request, VP_ERROR_SOURCE);
        }
        return;
    }
    if (vp_node_is_new(node, trigger->request)) {
        node->has_latest = 1;
        node->latest = trigger->request;
        const uint8_t code = vp_node_k_ok(node, trigger->k) ? begin_capture(node, link, trigger)
                                                            : VP_ERROR_K;
        if (code != 0u) {
            vp_node_refuse(node, link, trigger->request, code);
            return;
        }
    } else if (input->state == INPUT_NONE || trigger->request != input->request) {
        if (report) {
            vp_node_report_past(node, link, trigger->request);
        }
        return;
    } else if (input->chunks != 0u) {
        vp_node_count_damaged(node); /* What comes in chunks is not captured as well. */
        return;
    }
    if (report) {
        input->link = link;
        vp_node_send_sack_of_input(node);
    }
    input->received = 1; /* Asked again, the node says that it had begun before. */
}

static void fail(vp_node *node)
{
    vp_node_input *input = &node->input;
    if (node->work.phase == WORK_INPUT) {
        node->work.phase = WORK_NONE;
    }
    vp_node_drop_input(node);
    vp_node_refuse(node, input->link, input->request, VP_ERROR_CAPTURE);
}

int vp_node_capture_piece(vp_node *node)
{
    const vp_node_port *port = &node->config.port;
    vp_node_input *input = &node->input;
    if (input->state != INPUT_CAPTURING) {
        return 0;
    }
    const int error = port->capture_poll(port->context, &node->capture);
    const uint64_t now = vp_node_now(node);
    const uint32_t filled = node->capture.filled;
    if (error || filled < input->here || filled > input->size) {
        fail(node);
    } else if (filled > input->here) {
        input->here = filled;
        input->heard_us = now;
        if (filled == input->size) {
            input->state = INPUT_COMPLETE;
            input->complete_us = now;
        }
        return 1;
    } else if (now - input->heard_us >= VP_NODE_CAPTURE_MS * 1000u) {
        fail(node);
    }
    return 0;
}
