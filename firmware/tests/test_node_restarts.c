/* A gateway that restarts, and well-sealed nonsense. */
#include "node_bench.h"

static const image large = {.request = 1, .height = 40, .width = 50, .k = 6}; /* 4 chunks */

/* A gateway that restarted starts its requests anew; what its predecessor still had under way on the
 * line is refused. */
static void test_gateway_restarts(void)
{
    bench b;
    image im = large;
    bench_start(&b, 1);
    for (im.request = 99; im.request <= 100; im.request++) {
        send_image(&b, &im);
        bench_run(&b);
        expect_prediction(&b, &im);
    }
    send_chunk(&b, &im, 0, 0);
    const uint64_t before = ((uint64_t)4 << VP_WIRE_SEQUENCE_BITS) - 5u; /* in the replay window */

    b.counter = (uint64_t)4 << VP_WIRE_SEQUENCE_BITS;
    im.request = 100;
    ask_report(&b, &im);
    expect_sack(&b, 100, 0, 1, &(vp_sack_range){0, 4});
    im.request = 99;
    ask_report(&b, &im);
    expect_error(&b, 99, VP_ERROR_SUPERSEDED);

    im.request = 200;
    const uint64_t after = b.counter;
    b.counter = before;
    send_chunk(&b, &im, 0, 1);
    expect_nothing(&b);
    CHECK(b.node.rejected == 1u);
    b.counter = after;
    send_image(&b, &im);
    expect_error(&b, 100, VP_ERROR_SUPERSEDED);
    bench_run(&b);
    expect_prediction(&b, &im);
}

static void test_gateway_restarts_while_the_node_works(void)
{
    bench b;
    bench_start(&b, 1);
    send_image(&b, &large);
    CHECK(vp_node_poll(&b.node) == 1);
    CHECK(vp_node_poll(&b.node) == 1);
    b.counter = (uint64_t)4 << VP_WIRE_SEQUENCE_BITS;
    ask_report(&b, &large);
    expect_sack(&b, 1, 0, 1, &(vp_sack_range){0, 4});
    bench_run(&b);
    expect_nothing(&b);
}

/* What an older gateway boot sealed stays refused after the node's own reset; the present one's
 * messages are taken again. */
static void test_node_resets(void)
{
    bench b;
    bench_start(&b, 1);
    ask_report(&b, &large);
    expect_sack(&b, 1, 0, 1, &(vp_sack_range){0, 4});
    CHECK(b.kept_gateway_boot == 3u);
    b.counter = (uint64_t)4 << VP_WIRE_SEQUENCE_BITS;
    ask_report(&b, &large);
    expect_sack(&b, 1, 0, 1, &(vp_sack_range){0, 4});
    CHECK(b.kept_gateway_boot == 4u);

    b.config.gateway_boot = b.kept_gateway_boot;
    CHECK(vp_node_init(&b.node, &b.config) == VP_NODE_OK);
    (void)vp_node_poll(&b.node);
    b.sent_count = 0;
    const uint64_t now = b.counter;
    b.counter = ((uint64_t)4 << VP_WIRE_SEQUENCE_BITS) - 4u;
    send_image(&b, &large);
    bench_run(&b);
    expect_nothing(&b);
    CHECK(b.node.rejected == 4u);
    b.counter = now;
    send_image(&b, &large);
    bench_run(&b);
    expect_prediction(&b, &large);
}

/* Well-sealed nonsense: whatever it says, the node stays inside its buffers and answers the next
 * good request. */
static void test_random_messages(void)
{
    bench b;
    uint32_t random = 7;
    image good = large;
    bench_start(&b, 0);
    for (int round = 0; round < 20000; round++) {
        uint8_t payload[32];
        uint8_t message[VP_WIRE_MAX_MESSAGE];
        for (size_t i = 0; i < sizeof(payload); i++) {
            random = random * 1664525u + 1013904223u;
            payload[i] = (uint8_t)(random >> 24 & (random & 256u ? 255u : 7u));
        }
        payload[3] &= 1u;
        (void)bench_deliver(&b, (enum vp_node_link)(random >> 30 & 1u),
                            (uint8_t)(VP_DISCOVER + (random >> 29 & 1u)), VP_WIRE_ALL_NODES, payload,
                            random >> 16 & 31u, message);
        if ((random >> 20 & 3u) == 0u) {
            b.now_us += 10000u;
            (void)vp_node_poll(&b.node);
        }
        b.sent_count = 0;
    }
    good.request = (uint16_t)(b.node.latest + 1u);
    send_image(&b, &good);
    b.sent_count = 0;
    bench_run(&b);
    while (b.sent_count > 1) {
        (void)take(&b);
    }
    expect_prediction(&b, &good);
}

int main(void)
{
    test_gateway_restarts();
    test_gateway_restarts_while_the_node_works();
    test_node_resets();
    test_random_messages();
    CHECK_DONE();
}
