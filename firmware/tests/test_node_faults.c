/* The node's state machine on a bad day: loss, repetition, forgery, restarts, nonsense. */
#include "node_bench.h"

static const image large = {.request = 1, .height = 40, .width = 50, .k = 6}; /* 4 chunks */

static void test_silence_brings_a_sack(void)
{
    bench b;
    const vp_sack_range missing[2] = {{1, 1}, {3, 1}};
    bench_start(&b, 1);
    send_chunk(&b, &large, 0, 0);
    send_chunk(&b, &large, 2, 0);
    bench_wait_ms(&b, VP_NODE_GAP_MS - 10);
    expect_nothing(&b);
    bench_wait_ms(&b, 10);
    expect_sack(&b, 1, 2, 2, missing);
    bench_wait_ms(&b, VP_NODE_GAP_MS - 10);
    expect_nothing(&b);
    bench_wait_ms(&b, 10);
    expect_sack(&b, 1, 2, 2, missing);
    send_chunk(&b, &large, 3, 0);
    send_chunk(&b, &large, 1, 0);
    bench_run(&b);
    expect_prediction(&b, &large);
}

static void test_silence_brings_five_sacks_at_most(void)
{
    bench b;
    bench_start(&b, 1);
    b.identity.hello_ms = 60000;
    bench_wait_ms(&b, 1000);
    b.sent_count = 0;
    send_chunk(&b, &large, 0, 0);
    bench_wait_ms(&b, 2000);
    CHECK(b.sent_count == VP_NODE_GAP_REPORTS);
    b.sent_count = 0;
    send_chunk(&b, &large, 1, 0);
    bench_wait_ms(&b, 2000);
    CHECK(b.sent_count == VP_NODE_GAP_REPORTS);
    b.sent_count = 0;
    ask_report(&b, &large);
    expect_sack(&b, 1, 2, 1, &(vp_sack_range){2, 2});
}

static void test_traffic_puts_the_sack_off(void)
{
    bench b;
    bench_start(&b, 1);
    send_chunk(&b, &large, 0, 0);
    for (int i = 0; i < 10; i++) {
        bench_wait_ms(&b, 40);
        vp_node_note_traffic(&b.node, VP_NODE_SERIAL);
        expect_nothing(&b);
    }
    bench_wait_ms(&b, 40);
    vp_node_note_traffic(&b.node, VP_NODE_UDP);
    bench_wait_ms(&b, 10);
    expect_sack(&b, 1, 1, 1, &(vp_sack_range){1, 3});
}

/* All chunks were lost; the question alone tells the node what it misses. */
static void test_report_of_an_unseen_request(void)
{
    bench b;
    bench_start(&b, 1);
    ask_report(&b, &large);
    expect_sack(&b, 1, 0, 1, &(vp_sack_range){0, 4});
    send_image(&b, &large);
    bench_run(&b);
    expect_prediction(&b, &large);
}

static void test_ranges_of_a_sack_are_limited(void)
{
    static uint8_t input[20 * VP_WIRE_CHUNK_SIZE];
    static uint8_t chunk_map[VP_NODE_CHUNK_MAP_SIZE(sizeof(input))];
    const image im = {.request = 1, .height = 80, .width = 128, .k = 1};
    vp_sack_range ranges[VP_WIRE_MAX_RANGES];
    bench b;
    bench_start(&b, 1);
    b.config.input = input;
    b.config.input_capacity = sizeof(input);
    b.config.chunk_map = chunk_map;
    b.config.chunk_map_size = sizeof(chunk_map);
    CHECK(vp_node_init(&b.node, &b.config) == VP_NODE_OK);
    for (uint16_t chunk = 0; chunk < 20u; chunk = (uint16_t)(chunk + 2u)) {
        send_chunk(&b, &im, chunk, 0);
    }
    for (uint16_t i = 0; i < VP_WIRE_MAX_RANGES; i++) {
        ranges[i] = (vp_sack_range){(uint16_t)(2u * i + 1u), 1};
    }
    ask_report(&b, &im);
    expect_sack(&b, 1, 10, VP_WIRE_MAX_RANGES, ranges);
}

static void test_lost_answer_comes_again(void)
{
    bench b;
    image im = large;
    bench_start(&b, 1);
    for (im.request = 1; im.request <= VP_NODE_ANSWERS + 1; im.request++) {
        send_image(&b, &im);
        bench_run(&b);
        expect_prediction(&b, &im);
    }
    for (im.request = 2; im.request <= VP_NODE_ANSWERS + 1; im.request++) {
        ask_report(&b, &im);
        expect_sack(&b, im.request, 4, 0, NULL);
        expect_prediction(&b, &im);
        send_chunk(&b, &im, 0, 0);
        expect_nothing(&b);
    }
    im.request = 1;
    ask_report(&b, &im);
    expect_error(&b, 1, VP_ERROR_SUPERSEDED);
}

static void test_repeated_chunks(void)
{
    bench b;
    bench_start(&b, 1);
    send_chunk(&b, &large, 0, 0);
    send_chunk(&b, &large, 0, 1);
    expect_sack(&b, 1, 1, 1, &(vp_sack_range){1, 3});
    send_chunk(&b, &large, 1, 0);
    send_chunk(&b, &large, 1, 0);
    send_chunk(&b, &large, 2, 0);
    send_chunk(&b, &large, 3, 0);
    send_chunk(&b, &large, 3, 0);
    bench_run(&b);
    expect_prediction(&b, &large);
    expect_nothing(&b);
    CHECK(b.node.rejected == 0u && b.node.damaged == 0u);
}

static void test_newer_request_replaces_one_not_begun(void)
{
    bench b;
    image second = large;
    image third = large;
    second.request = 2;
    third.request = 3;
    bench_start(&b, 1);
    send_chunk(&b, &large, 0, 0);
    send_chunk(&b, &second, 0, 0);
    expect_error(&b, 1, VP_ERROR_SUPERSEDED);
    send_chunk(&b, &large, 1, 0);
    expect_nothing(&b);
    ask_report(&b, &large);
    expect_error(&b, 1, VP_ERROR_SUPERSEDED);
    send_image(&b, &second);
    CHECK(vp_node_poll(&b.node) == 1);
    send_chunk(&b, &third, 0, 0);
    expect_nothing(&b);
    third.request = 4;
    send_image(&b, &third);
    expect_error(&b, 3, VP_ERROR_SUPERSEDED);
    bench_run(&b);
    expect_prediction(&b, &second);
    expect_prediction(&b, &third);
    expect_nothing(&b);
}

static void test_refusals(void)
{
    static const struct {
        image im;
        uint8_t code;
    } cases[] = {
        {{1, 40, 51, 1}, VP_ERROR_TOO_LARGE}, {{2, 4096, 4096, 1}, VP_ERROR_TOO_LARGE},
        {{3, 0, 4, 1}, VP_ERROR_SHAPE},       {{4, 4, 0, 1}, VP_ERROR_SHAPE},
        {{5, 4097, 1, 1}, VP_ERROR_SHAPE},    {{6, 1, 65535, 1}, VP_ERROR_SHAPE},
        {{7, 4, 4, 0}, VP_ERROR_K},           {{8, 4, 4, CLASSES + 1}, VP_ERROR_K},
        {{9, 4, 4, 255}, VP_ERROR_K},
    };
    bench b;
    image good = large;
    bench_start(&b, 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        send_chunk_on(&b, VP_NODE_SERIAL, &cases[i].im, 0, 0, 0);
        expect_error(&b, cases[i].im.request, cases[i].code);
        send_chunk_on(&b, VP_NODE_SERIAL, &cases[i].im, 0, 0, 0);
        expect_nothing(&b);
        ask_report(&b, &cases[i].im);
        expect_error(&b, cases[i].im.request, cases[i].code);
        bench_run(&b);
        expect_nothing(&b);
    }
    good.request = 10;
    send_image(&b, &good);
    bench_run(&b);
    expect_prediction(&b, &good);
}

static void test_channels(void)
{
    bench b;
    vp_input input;
    uint8_t payload[VP_WIRE_MAX_MESSAGE];
    uint8_t message[VP_WIRE_MAX_MESSAGE];
    bench_start(&b, 1);
    chunk_of(&large, 0, 1, 0, &input);
    input.channels = 3;
    const int size = vp_input_pack(&input, payload, sizeof(payload));
    (void)bench_deliver(&b, VP_NODE_SERIAL, VP_INPUT, NODE, payload, (size_t)size, message);
    expect_error(&b, 1, VP_ERROR_SHAPE);
}

/* A chunk that contradicts its request is dropped: wrong shape, k, number or size. */
static void test_contradictions(void)
{
    bench b;
    image other = large;
    bench_start(&b, 1);
    send_chunk(&b, &large, 0, 0);
    other.k = 1;
    send_chunk(&b, &other, 1, 1);
    other = large;
    other.width = 49;
    send_chunk(&b, &other, 1, 1);
    for (int i = 0; i < 3; i++) {
        vp_input input;
        uint8_t payload[VP_WIRE_MAX_MESSAGE];
        uint8_t message[VP_WIRE_MAX_MESSAGE];
        chunk_of(&large, i == 0 ? 3 : 1, 1, 1, &input);
        input.chunk = i == 1 ? 4 : input.chunk;
        input.data_size = (uint16_t)(input.data_size - (i != 1));
        const int size = vp_input_pack(&input, payload, sizeof(payload));
        (void)bench_deliver(&b, VP_NODE_SERIAL, VP_INPUT, NODE, payload, (size_t)size, message);
    }
    expect_nothing(&b);
    CHECK(b.node.damaged == 5u && b.node.input.received == 1u);
}

static void test_foreign_forged_replayed(void)
{
    static const uint8_t wrong_key[VP_WIRE_KEY_SIZE] = {1};
    bench b;
    uint8_t message[VP_WIRE_MAX_MESSAGE];
    vp_wire_header header = {.type = VP_DISCOVER, .fleet = FLEET, .node = NODE};
    uint16_t rejected = 0;
    int size;
    bench_start(&b, 1);
#define DROPPED(key)                                                               \
    do {                                                                           \
        header.counter = b.counter++;                                              \
        size = vp_message_seal(&header, NULL, 0, key, message, sizeof(message));   \
        vp_node_receive(&b.node, VP_NODE_UDP, message, (size_t)size);              \
        expect_nothing(&b);                                                        \
        CHECK(b.node.rejected == ++rejected && b.node.damaged == 0u);              \
    } while (0)
    DROPPED(wrong_key);
    DROPPED(NULL);
    DROPPED(b.identity.group_key); /* addressed to this node alone: its own key tags it */
    header.node = VP_WIRE_ALL_NODES;
    DROPPED(b.identity.node_key);
    header.node = NODE + 1;
    DROPPED(b.identity.node_key);
    header.node = NODE;
    header.fleet = FLEET + 1;
    DROPPED(b.identity.node_key);
    header.fleet = FLEET;
    header.type = VP_HELLO;
    DROPPED(b.identity.node_key);

    size = (int)bench_deliver(&b, VP_NODE_UDP, VP_DISCOVER, NODE, NULL, 0, message);
    CHECK(take(&b).header.type == VP_HELLO);
    vp_node_receive(&b.node, VP_NODE_UDP, message, (size_t)size);
    vp_node_receive(&b.node, VP_NODE_SERIAL, message, (size_t)size);
    expect_nothing(&b);
    CHECK(b.node.rejected == rejected + 2u);
}

static void test_damaged(void)
{
    bench b;
    uint8_t message[VP_WIRE_MAX_MESSAGE] = {0};
    bench_start(&b, 0);
    vp_node_receive(&b.node, VP_NODE_UDP, message, 0);
    vp_node_receive(&b.node, VP_NODE_UDP, message, 12);
    vp_node_count_damaged(&b.node);
    const vp_wire_header header = {
        .type = VP_DISCOVER, .fleet = FLEET, .node = NODE, .counter = b.counter};
    const int size = vp_message_seal(&header, NULL, 0, NULL, message, sizeof(message));
    message[size - 1] ^= 1u;
    vp_node_receive(&b.node, VP_NODE_UDP, message, (size_t)size);
    (void)bench_deliver(&b, VP_NODE_UDP, VP_DISCOVER, NODE, message, 1, message);
    (void)bench_deliver(&b, VP_NODE_UDP, VP_INPUT, NODE, message, 10, message);
    expect_nothing(&b);
    CHECK(b.node.damaged == 6u && b.node.rejected == 0u);
    b.node.damaged = 65534;
    for (int i = 0; i < 3; i++) {
        vp_node_count_damaged(&b.node);
    }
    CHECK(b.node.damaged == 65535u);
}

int main(void)
{
    test_silence_brings_a_sack();
    test_silence_brings_five_sacks_at_most();
    test_traffic_puts_the_sack_off();
    test_report_of_an_unseen_request();
    test_ranges_of_a_sack_are_limited();
    test_lost_answer_comes_again();
    test_repeated_chunks();
    test_newer_request_replaces_one_not_begun();
    test_refusals();
    test_channels();
    test_contradictions();
    test_foreign_forged_replayed();
    test_damaged();
    CHECK_DONE();
}
