/**
 * @file source_bench.h
 * A node with an input source of its own, which the test holds by the reins. Included by the tests of
 * firmware/node/node_capture.c.
 */
#ifndef VP_TESTS_SOURCE_BENCH_H
#define VP_TESTS_SOURCE_BENCH_H

#include "node_bench.h"

#define HEIGHT 10u
#define WIDTH 12u
#define SIZE (HEIGHT * WIDTH)

static struct {
    uint32_t per_poll; /* Bytes that a poll brings. */
    uint32_t limit;    /* Bytes after which it brings no more. */
    uint16_t height;   /* What it sets, unless it is 0. */
    int refuses;
    int fails;
    int shrinks;
    int begins;
    int polls;
    int cancels;
    int running;
} source;

static inline int source_begin(void *context, vp_capture *capture)
{
    (void)context;
    CHECK(!source.running);
    source.begins++;
    CHECK(capture->node == NODE && capture->channels == 1u && capture->filled == 0u);
    CHECK(capture->height == HEIGHT && capture->width == WIDTH && capture->capacity == CAPACITY);
    if (source.height != 0u) {
        capture->height = source.height;
    }
    source.running = !source.refuses;
    return source.refuses ? -1 : 0;
}

static inline int source_poll(void *context, vp_capture *capture)
{
    const uint32_t size = (uint32_t)capture->height * capture->width;
    (void)context;
    CHECK(source.running);
    source.polls++;
    for (uint32_t i = 0; i < source.per_poll && capture->filled < size &&
                         capture->filled < source.limit; i++) {
        capture->pixels[capture->filled] = image_byte(capture->request, capture->filled);
        capture->filled++;
    }
    if (source.shrinks && capture->filled > 0u) {
        capture->filled = source.polls == 1 ? capture->filled : 0u;
    }
    source.running = capture->filled < size;
    return source.fails ? -1 : 0;
}

static inline void source_cancel(void *context)
{
    (void)context;
    source.cancels++;
    source.running = 0;
}

static const vp_node_variant seen = {
    .model = &model, .input_height = HEIGHT, .input_width = WIDTH, .lut = lut};

static inline void start(bench *b)
{
    memset(&source, 0, sizeof(source));
    source.per_poll = WIDTH;
    source.limit = CAPACITY;
    bench_start(b, 1);
    b->config.variant = &seen;
    b->config.port.capture_begin = source_begin;
    b->config.port.capture_poll = source_poll;
    b->config.port.capture_cancel = source_cancel;
    b->identity.hello_ms = 60000;
    CHECK(vp_node_init(&b->node, &b->config) == VP_NODE_OK);
    (void)vp_node_poll(&b->node);
    b->sent_count = 0;
}

static inline image captured(uint16_t request)
{
    return (image){.request = request, .height = HEIGHT, .width = WIDTH, .k = 3};
}

static inline void trigger_on(bench *b, enum vp_node_link link, uint16_t request, uint8_t k, int report)
{
    const vp_trigger trigger = {
        .request = request, .k = k, .flags = report ? VP_TRIGGER_REPORT : 0};
    uint8_t payload[4];
    uint8_t message[VP_WIRE_MAX_MESSAGE];
    CHECK(vp_trigger_pack(&trigger, payload, sizeof(payload)) == 4);
    (void)bench_deliver(b, link, VP_TRIGGER, VP_WIRE_ALL_NODES, payload, sizeof(payload), message);
}

static inline void trigger(bench *b, uint16_t request, int report)
{
    trigger_on(b, VP_NODE_SERIAL, request, 3, report);
}

#endif
