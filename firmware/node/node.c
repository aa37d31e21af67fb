#include <string.h>

#include "node_state.h"

#define MAX_COUNT 65535u
#define MAX_CHUNKS 65536u
#define BOOT_LIMIT (1u << 24)

static int variant_ok(const vp_node_variant *variant)
{
    if (variant == NULL || variant->model == NULL || variant->lut == NULL) {
        return 0;
    }
    const vp_tensor *input = &variant->model->input;
    const vp_tensor *output = &variant->model->output;
    return input->dim_count == 4u && input->dims[0] == 1u &&
           input->dims[1] >= 1u && input->dims[1] + variant->margin <= VP_RESIZE_MAX_SIDE &&
           input->dims[2] >= 1u && input->dims[2] + variant->margin <= VP_RESIZE_MAX_SIDE &&
           input->dims[3] >= 1u && input->dims[3] <= 255u &&
           input->size == input->dims[1] * input->dims[2] * input->dims[3] &&
           variant->crop_top <= variant->margin && variant->crop_left <= variant->margin &&
           output->size >= 1u && output->size <= MAX_COUNT;
}

static int source_ok(const vp_node_port *port)
{
    const int functions =
        (port->capture_begin != NULL) + (port->capture_poll != NULL) + (port->capture_cancel != NULL);
    return functions == 0 || functions == 3;
}

static int config_ok(const vp_node_config *config)
{
    return config->port.send != NULL && config->port.now_us != NULL &&
           config->port.next_boot != NULL && config->port.keep_gateway_boot != NULL &&
           source_ok(&config->port) &&
           config->identity != NULL && config->board != NULL &&
           variant_ok(config->variant) && config->arena != NULL &&
           config->arena_size >= config->variant->model->arena_size && config->input != NULL &&
           config->input_capacity >= 1u &&
           config->input_capacity <= MAX_CHUNKS * VP_WIRE_CHUNK_SIZE &&
           config->chunk_map != NULL &&
           config->chunk_map_size >= VP_NODE_CHUNK_MAP_SIZE(config->input_capacity) &&
           config->links < 1u << VP_NODE_LINKS && config->reset_cause <= VP_RESET_FAULT &&
           config->boot < BOOT_LIMIT && config->gateway_boot < BOOT_LIMIT;
}

uint64_t vp_node_now(const vp_node *node)
{
    return node->config.port.now_us(node->config.port.context);
}

int vp_node_init(vp_node *node, const vp_node_config *config)
{
    if (node == NULL || config == NULL || !config_ok(config) ||
        vp_model_begin(config->variant->model, config->arena) != 0) {
        return VP_NODE_CONFIG;
    }
    memset(node, 0, sizeof(*node));
    node->config = *config;
    node->boot = config->boot;
    node->gateway_boot = config->gateway_boot;
    node->start_us = vp_node_now(node);
    node->hello_us = node->start_us;
    return VP_NODE_OK;
}

static void count(uint16_t *counter)
{
    if (*counter < MAX_COUNT) {
        (*counter)++;
    }
}

void vp_node_count_damaged(vp_node *node)
{
    count(&node->damaged);
}

/* A gateway that restarted numbers its requests anew: nothing of the old ones may answer for them. */
static void start_afresh(vp_node *node, uint32_t gateway_boot)
{
    node->gateway_boot = gateway_boot;
    node->config.port.keep_gateway_boot(node->config.port.context, gateway_boot);
    vp_node_drop_input(node);
    node->work.phase = WORK_NONE;
    node->has_latest = 0;
    memset(node->answers, 0, sizeof(node->answers));
}

/* Addressed to this node by its gateway, whole, genuine and new? @return the payload's size or a
 * negative vp_wire_error. */
static int admit(vp_node *node, const uint8_t *message, size_t size, vp_wire_header *header)
{
    const vp_provision *identity = node->config.identity;
    const int error = vp_message_peek(message, size, header);
    if (error != VP_WIRE_OK) {
        return error;
    }
    if (header->fleet != identity->fleet ||
        (header->node != identity->node && header->node != VP_WIRE_ALL_NODES) ||
        (header->type != VP_DISCOVER && header->type != VP_INPUT && header->type != VP_TRIGGER)) {
        return VP_WIRE_FORGED;
    }
    const uint8_t *key = header->node == VP_WIRE_ALL_NODES ? identity->group_key : identity->node_key;
    const int payload_size = vp_message_verify(message, size, identity->authenticated ? key : NULL);
    if (payload_size < 0) {
        return payload_size;
    }
    const uint32_t gateway_boot = (uint32_t)(header->counter >> VP_WIRE_SEQUENCE_BITS);
    if (gateway_boot < node->gateway_boot) {
        return VP_WIRE_REPLAYED;
    }
    const int replayed = vp_replay_accept(&node->replay, header->counter);
    return replayed != VP_WIRE_OK ? replayed : payload_size;
}

/* @return VP_WIRE_OK, or what is wrong with the payload. */
static int act(vp_node *node, enum vp_node_link link, uint8_t type, const uint8_t *payload, size_t size)
{
    int error = VP_WIRE_OK;
    if (type == VP_INPUT) {
        vp_input chunk;
        error = vp_input_unpack(payload, size, &chunk);
        if (error == VP_WIRE_OK) {
            vp_node_take_chunk(node, link, &chunk);
        }
    } else if (type == VP_TRIGGER) {
        vp_trigger trigger;
        error = vp_trigger_unpack(payload, size, &trigger);
        if (error == VP_WIRE_OK) {
            vp_node_take_trigger(node, link, &trigger);
        }
    } else if (size == 0u) {
        vp_node_send_hello(node, link);
        vp_node_send_fault(node, link);
    } else {
        error = VP_WIRE_SHORT;
    }
    return error;
}

void vp_node_receive(vp_node *node, enum vp_node_link link, const uint8_t *message, size_t size)
{
    vp_wire_header header;
    const int payload_size = admit(node, message, size, &header);
    if (payload_size == VP_WIRE_FORGED || payload_size == VP_WIRE_REPLAYED) {
        count(&node->rejected);
        return;
    }
    if (payload_size < 0) {
        count(&node->damaged);
        return;
    }
    const uint32_t gateway_boot = (uint32_t)(header.counter >> VP_WIRE_SEQUENCE_BITS);
    if (gateway_boot > node->gateway_boot) {
        start_afresh(node, gateway_boot);
    }
    if (act(node, link, header.type, message + VP_WIRE_HEADER_SIZE, (size_t)payload_size) !=
        VP_WIRE_OK) {
        count(&node->damaged);
    }
}

static void check_heartbeat(vp_node *node)
{
    const uint64_t now = vp_node_now(node);
    if (now < node->hello_us) {
        return;
    }
    node->hello_us = now + (uint64_t)node->config.identity->hello_ms * 1000u;
    for (unsigned link = 0; link < VP_NODE_LINKS; link++) {
        const uint8_t bit = (uint8_t)(1u << link);
        if ((node->config.links & bit) != 0) {
            vp_node_send_hello(node, (enum vp_node_link)link);
            if ((node->greeted & bit) == 0) {
                vp_node_send_fault(node, (enum vp_node_link)link);
            }
            node->greeted |= bit;
        }
    }
}

int vp_node_poll(vp_node *node)
{
    check_heartbeat(node);
    vp_node_check_gap(node);
    const int captured = vp_node_capture_piece(node);
    return vp_node_work_piece(node) || captured;
}
