/**
 * @file node_bench.h
 * A node with a model of two steps, a clock that the test turns, a list of what the node sent, and
 * a gateway's hand to seal messages for it. Included by the tests of firmware/node.
 */
#ifndef VP_TESTS_NODE_BENCH_H
#define VP_TESTS_NODE_BENCH_H

#include <string.h>

#include "check.h"
#include "vp/node.h"

#define FLEET 5
#define NODE 7
#define SIDE 4u
#define CLASSES 6u
#define CAPACITY 2000u
#define MAX_SENT 64
#define BOOT 9u

typedef struct sent_message {
    enum vp_node_link link;
    vp_wire_header header;
    int verified;
    uint8_t payload[VP_NODE_MAX_PAYLOAD];
    size_t size;
} sent_message;

typedef struct bench {
    vp_node node;
    vp_node_config config;
    vp_provision identity;
    uint64_t now_us;
    uint32_t boots;
    uint32_t kept_gateway_boot;
    sent_message sent[MAX_SENT];
    int sent_count;
    uint64_t counter;
    vp_arena_t arena[VP_ARENA_WORDS(80)];
    uint8_t input[CAPACITY];
    uint8_t chunk_map[VP_NODE_CHUNK_MAP_SIZE(CAPACITY)];
} bench;

/* The model: class c scores what pixel 3 c holds after the resize, minus 1. It keeps two rows of its
 * input: stage 1 copies a row, stage 2 makes the scores. */
static inline void model_run(uint32_t stage, int32_t row, vp_arena_t *arena)
{
    int8_t *bytes = (int8_t *)arena;
    if (stage == 1u) {
        memcpy(bytes + 48 + (size_t)row * SIDE, bytes + 32 + (size_t)row % 2u * SIDE, SIDE);
        return;
    }
    for (uint32_t c = 0; c < CLASSES; c++) {
        bytes[64u + c] = (int8_t)(bytes[48u + 3u * c] - 1);
    }
}

static const uint16_t model_schedule[] = {1u << VP_MODEL_STAGE_BITS | VP_MODEL_INPUT,
                                          1,
                                          VP_MODEL_INPUT,
                                          1,
                                          VP_MODEL_INPUT,
                                          1u << VP_MODEL_STAGE_BITS | 1u,
                                          2};

/* Polls from the first row of an input to the answer. */
#define MODEL_POLLS (2 * (int)SIDE + 1)

static const vp_model model = {
    .name = "bench",
    .hash = {1, 2, 3, 4, 5, 6, 7, 8},
    .arena_size = 80,
    .stage_count = 3,
    .input_row_size = SIDE,
    .input_ring = 2,
    .schedule = model_schedule,
    .schedule_size = sizeof(model_schedule) / sizeof(model_schedule[0]),
    .input = {.offset = 32, .size = 16, .dims = {1, SIDE, SIDE, 1}, .dim_count = 4},
    .output = {.offset = 64, .size = CLASSES, .dims = {1, CLASSES, 1, 1}, .dim_count = 2},
    .run = model_run,
};

static int8_t lut[256];
static const vp_node_variant variant = {.model = &model, .lut = lut};

static inline void bench_send(void *context, enum vp_node_link link, const uint8_t *message, size_t size)
{
    bench *b = context;
    CHECK(b->sent_count < MAX_SENT);
    CHECK(size <= VP_NODE_MAX_MESSAGE);
    sent_message *sent = &b->sent[b->sent_count++];
    sent->link = link;
    CHECK(vp_message_peek(message, size, &sent->header) == VP_WIRE_OK);
    const int payload =
        vp_message_verify(message, size, b->identity.authenticated ? b->identity.node_key : NULL);
    sent->verified = payload >= 0;
    sent->size = payload >= 0 ? (size_t)payload : 0u;
    memcpy(sent->payload, message + VP_WIRE_HEADER_SIZE, sent->size);
}

static inline uint64_t bench_now(void *context)
{
    return ((bench *)context)->now_us;
}

static inline uint32_t bench_next_boot(void *context)
{
    return BOOT + ++((bench *)context)->boots;
}

static inline void bench_keep_gateway_boot(void *context, uint32_t boot)
{
    ((bench *)context)->kept_gateway_boot = boot;
}

static inline void bench_start(bench *b, int authenticated)
{
    memset(b, 0, sizeof(*b));
    for (int i = 0; i < 256; i++) {
        lut[i] = (int8_t)(i > 0 ? i - 128 : -127); /* The model takes 1 off. */
    }
    b->identity = (vp_provision){.fleet = FLEET, .node = NODE, .hello_ms = 1000};
    b->identity.authenticated = (uint8_t)authenticated;
    memset(b->identity.node_key, 0x11, VP_WIRE_KEY_SIZE);
    memset(b->identity.group_key, 0x22, VP_WIRE_KEY_SIZE);
    b->config = (vp_node_config){
        .port = {.context = b,
                 .send = bench_send,
                 .now_us = bench_now,
                 .next_boot = bench_next_boot,
                 .keep_gateway_boot = bench_keep_gateway_boot},
        .variant = &variant,
        .identity = &b->identity,
        .arena = b->arena,
        .arena_size = sizeof(b->arena),
        .input = b->input,
        .input_capacity = sizeof(b->input),
        .chunk_map = b->chunk_map,
        .chunk_map_size = sizeof(b->chunk_map),
        .links = 1u << VP_NODE_SERIAL | 1u << VP_NODE_UDP,
        .reset_cause = VP_RESET_POWER,
        .firmware = {1, 2, 3},
        .boot = BOOT,
        .board = "bench",
    };
    b->now_us = 5000000;
    b->counter = (uint64_t)3 << VP_WIRE_SEQUENCE_BITS;
    CHECK(vp_node_init(&b->node, &b->config) == VP_NODE_OK);
    (void)vp_node_poll(&b->node);
    b->sent_count = 0;
}

/* Polls until the node has nothing more to do at once. */
static inline void bench_run(bench *b)
{
    int turns = 0;
    while (vp_node_poll(&b->node)) {
        turns++;
        CHECK(turns < 100);
    }
}

/* Time passes in steps of 10 ms, as on a board. */
static inline void bench_wait_ms(bench *b, uint32_t ms)
{
    for (uint32_t i = 0; i < ms; i += 10u) {
        b->now_us += 10000u;
        bench_run(b);
    }
}

/* Seals a message as the gateway does and hands it to the node. @return its size. */
static inline size_t bench_deliver(bench *b, enum vp_node_link link, uint8_t type, uint16_t to,
                            const uint8_t *payload, size_t size, uint8_t *message)
{
    const vp_wire_header header = {
        .type = type, .fleet = FLEET, .node = to, .counter = b->counter++};
    const uint8_t *key =
        to == VP_WIRE_ALL_NODES ? b->identity.group_key : b->identity.node_key;
    const int sealed = vp_message_seal(&header, payload, size,
                                       b->identity.authenticated ? key : NULL, message,
                                       VP_WIRE_MAX_MESSAGE);
    CHECK(sealed > 0);
    vp_node_receive(&b->node, link, message, (size_t)sealed);
    return (size_t)sealed;
}

/* An image whose bytes depend on the request, height x width x 1. */
static inline uint8_t image_byte(uint16_t request, uint32_t at)
{
    return (uint8_t)((at * 37u + request * 11u + at / 7u) & 255u);
}

typedef struct image {
    uint16_t request;
    uint16_t height;
    uint16_t width;
    uint8_t k;
} image;

static inline void chunk_of(const image *im, uint16_t chunk, int with_data, int report, vp_input *out)
{
    const uint32_t size = (uint32_t)im->height * im->width;
    const uint32_t begin = (uint32_t)chunk * VP_WIRE_CHUNK_SIZE;
    memset(out, 0, sizeof(*out));
    out->request = im->request;
    out->k = im->k;
    out->flags = report ? VP_INPUT_REPORT : 0;
    out->height = im->height;
    out->width = im->width;
    out->channels = 1;
    out->chunk = chunk;
    if (with_data) {
        for (uint32_t at = begin; at < size && at < begin + VP_WIRE_CHUNK_SIZE; at++) {
            out->data[out->data_size++] = image_byte(im->request, at);
        }
    }
}

static inline void send_chunk_on(bench *b, enum vp_node_link link, const image *im, uint16_t chunk,
                          int with_data, int report)
{
    vp_input input;
    uint8_t payload[VP_WIRE_MAX_MESSAGE];
    uint8_t message[VP_WIRE_MAX_MESSAGE];
    chunk_of(im, chunk, with_data, report, &input);
    const int size = vp_input_pack(&input, payload, sizeof(payload));
    CHECK(size > 0);
    (void)bench_deliver(b, link, VP_INPUT, VP_WIRE_ALL_NODES, payload, (size_t)size, message);
}

static inline void send_chunk(bench *b, const image *im, uint16_t chunk, int report)
{
    send_chunk_on(b, VP_NODE_SERIAL, im, chunk, 1, report);
}

static inline void ask_report(bench *b, const image *im)
{
    send_chunk_on(b, VP_NODE_SERIAL, im, 0, 0, 1);
}

static inline void send_image(bench *b, const image *im)
{
    const uint32_t chunks = VP_NODE_CHUNKS((uint32_t)im->height * im->width);
    for (uint16_t chunk = 0; chunk < chunks; chunk++) {
        send_chunk(b, im, chunk, 0);
    }
}

/* Takes the oldest message that the node sent and was not yet looked at; type 0: none. */
static inline sent_message take(bench *b)
{
    sent_message first;
    memset(&first, 0, sizeof(first));
    if (b->sent_count > 0) {
        first = b->sent[0];
        b->sent_count--;
        memmove(b->sent, b->sent + 1, (size_t)b->sent_count * sizeof(b->sent[0]));
        CHECK(first.verified && first.header.fleet == FLEET && first.header.node == NODE);
    }
    return first;
}

/* The next message is the right PREDICTION, by a resize of the whole and a selection of the test's own. */
static inline void expect_prediction(bench *b, const image *im)
{
    const vp_node_variant *shown = b->node.config.variant;
    const sent_message sent = take(b);
    vp_prediction prediction;
    uint8_t source[CAPACITY];
    int8_t resized[SIDE * SIDE];
    CHECK(sent.header.type == VP_PREDICTION);
    if (sent.header.type != VP_PREDICTION) {
        return;
    }
    CHECK(vp_prediction_unpack(sent.payload, sent.size, CLASSES, &prediction) == VP_WIRE_OK);
    CHECK(prediction.request == im->request && prediction.k == im->k);
    for (uint32_t at = 0; at < (uint32_t)im->height * im->width; at++) {
        source[at] = image_byte(im->request, at);
    }
    const vp_resize geometry = {im->height,     im->width,       SIDE,             SIDE,
                                shown->margin, shown->crop_top, shown->crop_left, 1};
    CHECK(vp_resize_rows(&geometry, source, lut, 0, SIDE, resized) == 0);
    for (unsigned i = 0; i < prediction.k; i++) {
        unsigned better = 0;
        const uint16_t index = prediction.entries[i].index;
        for (unsigned c = 0; c < CLASSES; c++) {
            better += resized[3u * c] > resized[3u * index] ||
                      (resized[3u * c] == resized[3u * index] && c < index);
        }
        CHECK(better == i);
        CHECK(prediction.entries[i].score == resized[3u * index] - 1);
    }
}

/* The next message is a SACK for the request: so many chunks here, these ranges missing. */
static inline void expect_sack(bench *b, uint16_t request, uint16_t received, uint8_t range_count,
                        const vp_sack_range *ranges)
{
    const sent_message sent = take(b);
    vp_sack sack;
    CHECK(sent.header.type == VP_SACK);
    if (sent.header.type != VP_SACK) {
        return;
    }
    CHECK(vp_sack_unpack(sent.payload, sent.size, &sack) == VP_WIRE_OK);
    CHECK(sack.request == request && sack.received == received && sack.range_count == range_count);
    for (unsigned i = 0; i < range_count && i < sack.range_count; i++) {
        CHECK(sack.ranges[i].first == ranges[i].first && sack.ranges[i].count == ranges[i].count);
    }
}

static inline void expect_error(bench *b, uint16_t request, uint8_t code)
{
    const sent_message sent = take(b);
    vp_error error;
    CHECK(sent.header.type == VP_ERROR);
    if (sent.header.type == VP_ERROR) {
        CHECK(vp_error_unpack(sent.payload, sent.size, &error) == VP_WIRE_OK);
        CHECK(error.request == request && error.code == code);
    }
}

static inline void expect_nothing(const bench *b)
{
    CHECK(b->sent_count == 0);
}

#endif
