/* The node's state machine on a good day: HELLO, inputs, answers, two inputs at a time. */
#include "node_bench.h"

static const image small = {.request = 1, .height = 6, .width = 5, .k = 2};
static const image large = {.request = 1, .height = 40, .width = 50, .k = 6}; /* 4 chunks */

static void expect_hello(bench *b, enum vp_node_link link, uint64_t counter)
{
    const sent_message sent = take(b);
    vp_hello hello;
    CHECK(sent.header.type == VP_HELLO && sent.link == link && sent.header.counter == counter);
    CHECK(vp_hello_unpack(sent.payload, sent.size, &hello) == VP_WIRE_OK);
    CHECK(memcmp(hello.model_hash, model.hash, sizeof(hello.model_hash)) == 0);
    CHECK(hello.classes == CLASSES && hello.height == SIDE && hello.width == SIDE &&
          hello.channels == 1u && hello.capacity == CAPACITY);
    CHECK(hello.reset_cause == VP_RESET_POWER && hello.firmware[2] == 3u);
    CHECK(memcmp(hello.board, "bench\0\0\0\0\0\0\0\0\0\0", VP_WIRE_BOARD_SIZE) == 0);
    CHECK(hello.uptime_ms == (b->now_us - 5000000u) / 1000u);
}

static void test_hello_at_boot_and_as_heartbeat(void)
{
    bench b;
    const uint64_t first = (uint64_t)BOOT << VP_WIRE_SEQUENCE_BITS;
    bench_start(&b, 1);
    CHECK(vp_node_init(&b.node, &b.config) == VP_NODE_OK);
    CHECK(vp_node_poll(&b.node) == 0);
    expect_hello(&b, VP_NODE_SERIAL, first);
    expect_hello(&b, VP_NODE_UDP, first + 1u);
    expect_nothing(&b);
    bench_wait_ms(&b, 990);
    expect_nothing(&b);
    bench_wait_ms(&b, 10);
    expect_hello(&b, VP_NODE_SERIAL, first + 2u);
    expect_hello(&b, VP_NODE_UDP, first + 3u);
    bench_wait_ms(&b, 3000);
    CHECK(b.sent_count == 6);
}

static void test_discover(void)
{
    bench b;
    uint8_t message[VP_WIRE_MAX_MESSAGE];
    bench_start(&b, 1);
    (void)bench_deliver(&b, VP_NODE_UDP, VP_DISCOVER, NODE, NULL, 0, message);
    expect_hello(&b, VP_NODE_UDP, ((uint64_t)BOOT << VP_WIRE_SEQUENCE_BITS) + 2u);
    (void)bench_deliver(&b, VP_NODE_SERIAL, VP_DISCOVER, VP_WIRE_ALL_NODES, NULL, 0, message);
    expect_hello(&b, VP_NODE_SERIAL, ((uint64_t)BOOT << VP_WIRE_SEQUENCE_BITS) + 3u);
    expect_nothing(&b);
}

/* A fault is told once on each link, after the first HELLO, and after each HELLO that was asked for. */
static void test_fault(void)
{
    bench b;
    uint8_t message[VP_WIRE_MAX_MESSAGE];
    const vp_fault fault = {0x08012345, 0xfffffff9, 0x81000003, 0x8200, 0x40000000, 0xe0001004};
    const uint64_t first = (uint64_t)BOOT << VP_WIRE_SEQUENCE_BITS;
    bench_start(&b, 1);
    b.config.reset_cause = VP_RESET_FAULT;
    b.config.fault = &fault;
    CHECK(vp_node_init(&b.node, &b.config) == VP_NODE_OK);
    (void)vp_node_poll(&b.node);
    (void)bench_deliver(&b, VP_NODE_UDP, VP_DISCOVER, NODE, NULL, 0, message);
    bench_wait_ms(&b, 1000);
    CHECK(b.sent_count == 8);
    for (unsigned i = 0; i < 8u; i++) {
        static const uint8_t types[8] = {VP_HELLO, VP_FAULT, VP_HELLO, VP_FAULT,
                                         VP_HELLO, VP_FAULT, VP_HELLO, VP_HELLO};
        const sent_message sent = take(&b);
        vp_fault told;
        CHECK(sent.header.type == types[i] && sent.header.counter == first + i);
        CHECK(sent.link == (i < 2u || i == 6u ? VP_NODE_SERIAL : VP_NODE_UDP));
        if (types[i] == VP_FAULT) {
            CHECK(vp_fault_unpack(sent.payload, sent.size, &told) == VP_WIRE_OK);
            CHECK(memcmp(&told, &fault, sizeof(told)) == 0);
        }
    }
}

/* @return the flags of the HELLO that answers a DISCOVER. */
static uint8_t hello_flags(bench *b)
{
    uint8_t message[VP_WIRE_MAX_MESSAGE];
    vp_hello hello = {.flags = 255};
    (void)bench_deliver(b, VP_NODE_SERIAL, VP_DISCOVER, NODE, NULL, 0, message);
    const sent_message sent = take(b);
    CHECK(vp_hello_unpack(sent.payload, sent.size, &hello) == VP_WIRE_OK);
    return hello.flags;
}

static void test_says_that_it_is_in_a_group(void)
{
    bench b;
    bench_start(&b, 1);
    CHECK(hello_flags(&b) == 0u);
    memcpy(b.identity.group, (const uint8_t[4]){239, 77, 80, 1}, 4);
    b.identity.group_port = 47801;
    CHECK(hello_flags(&b) == VP_HELLO_MULTICAST);
    b.node.config.links = 1u << VP_NODE_SERIAL;
    CHECK(hello_flags(&b) == 0u);
}

static void test_answer(void)
{
    for (int authenticated = 0; authenticated < 2; authenticated++) {
        bench b;
        bench_start(&b, authenticated);
        send_image(&b, &small);
        expect_nothing(&b);
        bench_run(&b);
        expect_prediction(&b, &small);
        expect_nothing(&b);
    }
}

static void test_one_step_a_poll(void)
{
    bench b;
    bench_start(&b, 0);
    send_image(&b, &small);
    int turns = 0;
    while (b.sent_count == 0 && turns < 100) {
        b.now_us += 1000u;
        turns++;
        CHECK(vp_node_poll(&b.node) == (b.sent_count == 0));
    }
    CHECK(turns == MODEL_POLLS);
    CHECK(b.sent[0].payload[2] == 4u * (unsigned)turns && b.sent[0].payload[3] == 0u);
    expect_prediction(&b, &small);
}

static void test_chunks_in_any_order(void)
{
    static const uint16_t orders[3][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1}};
    for (int i = 0; i < 3; i++) {
        bench b;
        bench_start(&b, 1);
        for (int j = 0; j < 4; j++) {
            expect_nothing(&b);
            send_chunk(&b, &large, orders[i][j], 0);
        }
        bench_run(&b);
        expect_prediction(&b, &large);
    }
}

static void test_report_on_last_chunk(void)
{
    bench b;
    bench_start(&b, 1);
    send_chunk(&b, &large, 0, 0);
    send_chunk(&b, &large, 1, 1);
    expect_sack(&b, 1, 2, 1, &(vp_sack_range){2, 2});
    send_chunk(&b, &large, 2, 0);
    send_chunk(&b, &large, 3, 1);
    expect_sack(&b, 1, 4, 0, NULL);
    bench_run(&b);
    expect_prediction(&b, &large);
}

static void test_answer_goes_where_the_request_came_from(void)
{
    bench b;
    bench_start(&b, 1);
    send_chunk_on(&b, VP_NODE_UDP, &small, 0, 1, 0);
    bench_run(&b);
    CHECK(b.sent_count == 1 && b.sent[0].link == VP_NODE_UDP);
    expect_prediction(&b, &small);
    ask_report(&b, &small);
    CHECK(b.sent_count == 2 && b.sent[0].link == VP_NODE_SERIAL);
    expect_sack(&b, 1, 1, 0, NULL);
    expect_prediction(&b, &small);
}

static void test_receives_while_it_infers(void)
{
    bench b;
    const image second = {.request = 2, .height = 30, .width = 31, .k = 3};
    bench_start(&b, 1);
    send_image(&b, &large);
    CHECK(vp_node_poll(&b.node) == 1);
    send_chunk(&b, &second, 1, 0);
    CHECK(vp_node_poll(&b.node) == 1);
    send_chunk(&b, &second, 0, 0);
    ask_report(&b, &large);
    expect_sack(&b, 1, 4, 0, NULL);
    bench_run(&b);
    expect_prediction(&b, &large);
    expect_prediction(&b, &second);
    expect_nothing(&b);
}

/* The buffer still holds the first input when the second one arrives: whole, or partly used. */
static void test_receives_before_all_rows_are_used(void)
{
    const image second = {.request = 2, .height = 30, .width = 31, .k = 3};
    for (unsigned polls = 0; polls < (unsigned)MODEL_POLLS; polls++) {
        bench b;
        bench_start(&b, 1);
        send_image(&b, &large);
        for (unsigned i = 0; i < polls; i++) {
            CHECK(vp_node_poll(&b.node) == 1);
        }
        send_image(&b, &second);
        expect_nothing(&b);
        bench_run(&b);
        CHECK(b.sent_count == 2);
        for (uint8_t i = 0; i < 2u; i++) {
            const sent_message sent = take(&b);
            CHECK(sent.header.type == VP_PREDICTION && sent.payload[0] == i + 1u);
        }
    }
}

static void test_requests_wrap(void)
{
    bench b;
    image im = small;
    bench_start(&b, 1);
    im.request = 65534;
    for (int i = 0; i < 4; i++) {
        send_image(&b, &im);
        bench_run(&b);
        expect_prediction(&b, &im);
        im.request++;
    }
}

static void test_sequence_runs_out(void)
{
    bench b;
    image im = small;
    bench_start(&b, 1);
    b.node.sequence = 65535;
    send_image(&b, &im);
    bench_run(&b);
    CHECK(b.sent[0].header.counter == (((uint64_t)BOOT << 16) | 65535u));
    expect_prediction(&b, &im);
    im.request++;
    send_image(&b, &im);
    bench_run(&b);
    CHECK(b.boots == 1u && b.sent[0].header.counter == (uint64_t)(BOOT + 1u) << 16);
    expect_prediction(&b, &im);
}

static void test_configuration_is_checked(void)
{
    bench b;
    vp_model other = model;
    vp_node_variant bad = variant;
    bench_start(&b, 1);
#define REFUSED(field, value)                                          \
    do {                                                               \
        vp_node_config config = b.config;                              \
        config.field = value;                                          \
        CHECK(vp_node_init(&b.node, &config) == VP_NODE_CONFIG);       \
    } while (0)
    REFUSED(port.send, NULL);
    REFUSED(port.now_us, NULL);
    REFUSED(port.next_boot, NULL);
    REFUSED(port.keep_gateway_boot, NULL);
    REFUSED(identity, NULL);
    REFUSED(arena, NULL);
    REFUSED(arena_size, 63);
    REFUSED(input, NULL);
    REFUSED(input_capacity, 0);
    REFUSED(input_capacity, 65536u * 512u + 1u);
    REFUSED(chunk_map, NULL);
    REFUSED(chunk_map_size, 0);
    REFUSED(links, 4);
    REFUSED(reset_cause, 5);
    REFUSED(boot, 1u << 24);
    REFUSED(gateway_boot, 1u << 24);
    REFUSED(board, NULL);
    REFUSED(variant, NULL);
    bad.lut = NULL;
    REFUSED(variant, &bad);
    bad = variant;
    bad.crop_left = 1;
    REFUSED(variant, &bad);
    bad = variant;
    bad.margin = 4093;
    REFUSED(variant, &bad);
    bad = variant;
    bad.model = &other;
    other.input.dim_count = 2;
    REFUSED(variant, &bad);
    other = model;
    other.input.size = 17;
    REFUSED(variant, &bad);
    other = model;
    other.output.size = 65536;
    REFUSED(variant, &bad);
}

int main(void)
{
    test_hello_at_boot_and_as_heartbeat();
    test_discover();
    test_fault();
    test_says_that_it_is_in_a_group();
    test_answer();
    test_one_step_a_poll();
    test_chunks_in_any_order();
    test_report_on_last_chunk();
    test_answer_goes_where_the_request_came_from();
    test_receives_while_it_infers();
    test_receives_before_all_rows_are_used();
    test_requests_wrap();
    test_sequence_runs_out();
    test_configuration_is_checked();
    CHECK_DONE();
}
