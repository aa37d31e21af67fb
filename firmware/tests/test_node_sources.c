/* Boards without an input source, sources with a shape of their own, sources that fail. */
#include "source_bench.h"

static void test_says_that_it_has_a_source(void)
{
    uint8_t message[VP_WIRE_MAX_MESSAGE];
    bench b;
    start(&b);
    for (unsigned has = 2; has > 0u; has--) {
        vp_hello hello;
        (void)bench_deliver(&b, VP_NODE_SERIAL, VP_DISCOVER, NODE, NULL, 0, message);
        const sent_message sent = take(&b);
        CHECK(vp_hello_unpack(sent.payload, sent.size, &hello) == VP_WIRE_OK);
        CHECK(hello.flags == (has == 2u ? VP_HELLO_SENSOR : 0u));
        bench_start(&b, 1);
    }
    b.config.port.capture_begin = source_begin;
    CHECK(vp_node_init(&b.node, &b.config) == VP_NODE_CONFIG);
}

static void test_without_a_source(void)
{
    bench b;
    const image im = {.request = 5, .height = 40, .width = 50, .k = 6};
    bench_start(&b, 1);
    send_chunk(&b, &im, 0, 0);
    trigger(&b, 6, 0);
    expect_nothing(&b);
    trigger(&b, 6, 1);
    expect_error(&b, 6, VP_ERROR_SOURCE);
    for (uint16_t chunk = 1; chunk < 4u; chunk++) {
        send_chunk(&b, &im, chunk, 0);
    }
    bench_run(&b);
    expect_prediction(&b, &im);
    expect_nothing(&b);
}

static void expect_failed_capture(bench *b, uint16_t request)
{
    expect_error(b, request, VP_ERROR_CAPTURE);
    expect_nothing(b);
    trigger(b, request, 0);
    expect_nothing(b);
    trigger(b, request, 1);
    expect_error(b, request, VP_ERROR_CAPTURE);
    CHECK(source.begins == 1 && !source.running);
}

static void test_sources_that_fail(void)
{
    bench b;
    start(&b);
    source.refuses = 1;
    trigger(&b, 1, 0);
    expect_failed_capture(&b, 1);

    for (uint32_t rows = 0; rows < HEIGHT; rows++) {
        start(&b);
        source.limit = rows * WIDTH;
        trigger(&b, 1, 0);
        bench_run(&b);
        source.fails = 1;
        bench_run(&b);
        CHECK(source.cancels == 1);
        expect_failed_capture(&b, 1);
        source.fails = 0;
        source.limit = CAPACITY;
        trigger(&b, 2, 0);
        bench_run(&b);
        const image im = captured(2);
        expect_prediction(&b, &im);
    }

    start(&b);
    source.shrinks = 1;
    trigger(&b, 1, 0);
    bench_run(&b);
    expect_failed_capture(&b, 1);
}

static void test_a_source_of_another_shape(void)
{
    static const uint16_t heights[] = {1, 25, CAPACITY / WIDTH, CAPACITY / WIDTH + 1u, 4097};
    for (size_t i = 0; i < sizeof(heights) / sizeof(heights[0]); i++) {
        bench b;
        image im = captured(1);
        start(&b);
        source.height = im.height = heights[i];
        trigger(&b, 1, 0);
        if (heights[i] > CAPACITY / WIDTH) {
            CHECK(source.cancels == 1);
            expect_failed_capture(&b, 1);
        } else {
            for (unsigned turns = 0; vp_node_poll(&b.node) && turns < 1000u; turns++) {
            }
            expect_prediction(&b, &im);
        }
    }
}

static void test_a_silent_source_fails_in_the_end(void)
{
    bench b;
    start(&b);
    source.limit = 2u * WIDTH;
    trigger(&b, 1, 0);
    bench_run(&b);
    bench_wait_ms(&b, VP_NODE_CAPTURE_MS - 10);
    expect_nothing(&b);
    source.limit = 3u * WIDTH;
    bench_wait_ms(&b, VP_NODE_CAPTURE_MS);
    expect_nothing(&b);
    bench_wait_ms(&b, 10);
    CHECK(source.cancels == 1);
    expect_failed_capture(&b, 1);
}

int main(void)
{
    test_says_that_it_has_a_source();
    test_without_a_source();
    test_sources_that_fail();
    test_a_source_of_another_shape();
    test_a_silent_source_fails_in_the_end();
    CHECK_DONE();
}
