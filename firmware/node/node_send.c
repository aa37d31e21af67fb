#include <string.h>

#include "node_state.h"

static void send_payload(vp_node *node, enum vp_node_link link, uint8_t type,
                         const uint8_t *payload, size_t size)
{
    const vp_provision *identity = node->config.identity;
    uint8_t message[VP_NODE_MAX_MESSAGE];
    if (node->sequence >> VP_WIRE_SEQUENCE_BITS != 0u) {
        node->boot = node->config.port.next_boot(node->config.port.context);
        node->sequence = 0;
    }
    const vp_wire_header header = {
        .type = type,
        .fleet = identity->fleet,
        .node = identity->node,
        .counter = ((uint64_t)node->boot << VP_WIRE_SEQUENCE_BITS) | node->sequence,
    };
    node->sequence++;
    const int sealed = vp_message_seal(&header, payload, size,
                                       identity->authenticated ? identity->node_key : NULL, message,
                                       sizeof(message));
    if (sealed > 0) {
        node->config.port.send(node->config.port.context, link, message, (size_t)sealed);
    }
}

static int is_in_group(const vp_node *node)
{
    static const uint8_t none[4];
    const vp_node_config *config = &node->config;
    return (config->links & 1u << VP_NODE_UDP) != 0u &&
           memcmp(config->identity->group, none, sizeof(none)) != 0;
}

static uint8_t flags_of(const vp_node *node)
{
    const unsigned group = is_in_group(node) ? VP_HELLO_MULTICAST : 0u;
    const unsigned sensor = node->config.port.capture_begin != NULL ? VP_HELLO_SENSOR : 0u;
    return (uint8_t)(group | sensor);
}

void vp_node_send_hello(vp_node *node, enum vp_node_link link)
{
    const vp_model *model = node->config.variant->model;
    const size_t name_size = strlen(node->config.board);
    uint8_t payload[VP_NODE_MAX_PAYLOAD];
    vp_hello hello = {
        .classes = (uint16_t)model->output.size,
        .height = (uint16_t)model->input.dims[1],
        .width = (uint16_t)model->input.dims[2],
        .channels = (uint8_t)model->input.dims[3],
        .capacity = node->config.input_capacity,
        .reset_cause = node->config.reset_cause,
        .uptime_ms = (uint32_t)((vp_node_now(node) - node->start_us) / 1000u),
        .damaged = node->damaged,
        .rejected = node->rejected,
        .flags = flags_of(node),
    };
    memcpy(hello.model_hash, model->hash, VP_WIRE_HASH_SIZE);
    memcpy(hello.firmware, node->config.firmware, sizeof(hello.firmware));
    memcpy(hello.board, node->config.board,
           name_size < VP_WIRE_BOARD_SIZE ? name_size : VP_WIRE_BOARD_SIZE);
    const int size = vp_hello_pack(&hello, payload, sizeof(payload));
    if (size > 0) {
        send_payload(node, link, VP_HELLO, payload, (size_t)size);
    }
}

void vp_node_send_fault(vp_node *node, enum vp_node_link link)
{
    uint8_t payload[VP_NODE_MAX_PAYLOAD];
    if (node->config.fault == NULL) {
        return;
    }
    const int size = vp_fault_pack(node->config.fault, payload, sizeof(payload));
    if (size > 0) {
        send_payload(node, link, VP_FAULT, payload, (size_t)size);
    }
}

static void send_sack(vp_node *node, enum vp_node_link link, const vp_sack *sack)
{
    uint8_t payload[VP_NODE_MAX_PAYLOAD];
    const int size = vp_sack_pack(sack, payload, sizeof(payload));
    if (size > 0) {
        send_payload(node, link, VP_SACK, payload, (size_t)size);
    }
}

/* A count of 65,536 chunks does not fit its field; the ranges alone say that all are here. */
static uint16_t count_field(uint32_t chunks)
{
    return (uint16_t)(chunks < 65535u ? chunks : 65535u);
}

void vp_node_send_sack(vp_node *node, enum vp_node_link link, uint16_t request, uint32_t chunks)
{
    const vp_sack sack = {.request = request, .received = count_field(chunks)};
    send_sack(node, link, &sack);
}

void vp_node_send_sack_of_input(vp_node *node)
{
    const vp_node_input *input = &node->input;
    vp_sack sack = {.request = input->request, .received = count_field(input->received)};
    uint32_t chunk = 0;
    while (sack.range_count < VP_WIRE_MAX_RANGES && input->received < input->chunks) {
        while (chunk < input->chunks && vp_node_chunk_here(node, chunk)) {
            chunk++;
        }
        const uint32_t first = chunk;
        while (chunk < input->chunks && !vp_node_chunk_here(node, chunk)) {
            chunk++;
        }
        if (chunk == first) {
            break;
        }
        vp_sack_range *range = &sack.ranges[sack.range_count++];
        range->first = (uint16_t)first;
        range->count = count_field(chunk - first);
    }
    send_sack(node, input->link, &sack);
}

static void send_and_keep(vp_node *node, enum vp_node_link link, uint8_t type, uint16_t request,
                          uint32_t chunks, const uint8_t *payload, size_t size)
{
    vp_node_answer *answer = &node->answers[node->next_answer];
    node->next_answer = (uint8_t)((node->next_answer + 1u) % VP_NODE_ANSWERS);
    answer->type = type;
    answer->size = (uint8_t)size;
    answer->request = request;
    answer->chunks = chunks;
    memcpy(answer->payload, payload, size);
    send_payload(node, link, type, payload, size);
}

void vp_node_answer_prediction(vp_node *node, enum vp_node_link link,
                               const vp_prediction *prediction, uint32_t chunks)
{
    uint8_t payload[VP_NODE_MAX_PAYLOAD];
    const int size = vp_prediction_pack(
        prediction, (uint16_t)node->config.variant->model->output.size, payload, sizeof(payload));
    if (size > 0) {
        send_and_keep(node, link, VP_PREDICTION, prediction->request, chunks, payload, (size_t)size);
    }
}

void vp_node_refuse(vp_node *node, enum vp_node_link link, uint16_t request, uint8_t code)
{
    const vp_error error = {.request = request, .code = code};
    uint8_t payload[VP_NODE_MAX_PAYLOAD];
    const int size = vp_error_pack(&error, payload, sizeof(payload));
    if (size > 0) {
        send_and_keep(node, link, VP_ERROR, request, 0, payload, (size_t)size);
    }
}

void vp_node_send_error(vp_node *node, enum vp_node_link link, uint16_t request, uint8_t code)
{
    const vp_error error = {.request = request, .code = code};
    uint8_t payload[VP_NODE_MAX_PAYLOAD];
    const int size = vp_error_pack(&error, payload, sizeof(payload));
    if (size > 0) {
        send_payload(node, link, VP_ERROR, payload, (size_t)size);
    }
}

const vp_node_answer *vp_node_find_answer(const vp_node *node, uint16_t request)
{
    for (unsigned i = 0; i < VP_NODE_ANSWERS; i++) {
        if (node->answers[i].type != 0u && node->answers[i].request == request) {
            return &node->answers[i];
        }
    }
    return NULL;
}

void vp_node_send_answer_again(vp_node *node, enum vp_node_link link, const vp_node_answer *answer)
{
    /* An input that was captured has no chunks to report. */
    if (answer->type == VP_PREDICTION && answer->chunks != 0u) {
        vp_node_send_sack(node, link, answer->request, answer->chunks);
    }
    send_payload(node, link, answer->type, answer->payload, answer->size);
}
