/* Inputs from the board's own source: TRIGGER, what it replaces and what replaces it. */
#include "source_bench.h"

static void test_captures_and_answers(void)
{
    static const uint32_t pieces[] = {1, 5, WIDTH, 50, SIZE, CAPACITY};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        bench b;
        const image im = captured(9);
        start(&b);
        source.per_poll = pieces[i];
        trigger_on(&b, VP_NODE_UDP, 9, 3, 0);
        expect_nothing(&b);
        for (unsigned turns = 0; vp_node_poll(&b.node) && turns < 1000u; turns++) {
        }
        CHECK(b.sent_count == 1 && b.sent[0].link == VP_NODE_UDP);
        expect_prediction(&b, &im);
        expect_nothing(&b);
        CHECK(source.begins == 1 && source.cancels == 0);
    }
}

/* Rows go through the model as the source gives them; the time counts from the last one. */
static void test_works_while_it_captures(void)
{
    bench b;
    const image im = captured(1);
    start(&b);
    source.limit = 4u * WIDTH;
    trigger(&b, 1, 0);
    bench_run(&b);
    CHECK(vp_model_row_number(&model, b.arena) == 1u);
    b.now_us += 3000000u;
    source.limit = CAPACITY;
    while (source.running) {
        (void)vp_node_poll(&b.node);
    }
    int polls = 0;
    while (b.sent_count == 0 && polls < MODEL_POLLS) {
        b.now_us += 1000u;
        polls++;
        (void)vp_node_poll(&b.node);
    }
    CHECK(b.sent[0].payload[2] == 4u * (unsigned)polls && b.sent[0].payload[3] == 0u);
    expect_prediction(&b, &im);
}

static void test_the_same_request_again(void)
{
    bench b;
    const image im = captured(1);
    start(&b);
    source.limit = 3u * WIDTH;
    trigger(&b, 1, 0);
    bench_run(&b);
    trigger(&b, 1, 0);
    expect_nothing(&b);
    trigger(&b, 1, 1);
    expect_sack(&b, 1, 1, 0, NULL);
    expect_nothing(&b);
    source.limit = CAPACITY;
    for (int turn = 0; turn < 200 && b.sent_count == 0; turn++) {
        trigger(&b, 1, turn & 1);
        (void)vp_node_poll(&b.node);
        while (b.sent_count > 0 && b.sent[0].header.type == VP_SACK) {
            expect_sack(&b, 1, 1, 0, NULL);
        }
    }
    expect_prediction(&b, &im);
    trigger(&b, 1, 0);
    bench_run(&b);
    expect_nothing(&b);
    trigger_on(&b, VP_NODE_UDP, 1, 3, 1);
    CHECK(b.sent_count == 1 && b.sent[0].link == VP_NODE_UDP);
    expect_prediction(&b, &im);
    bench_run(&b);
    expect_nothing(&b);
    CHECK(source.begins == 1);
}

static void test_a_trigger_that_also_asks(void)
{
    bench b;
    const image im = captured(1);
    start(&b);
    trigger(&b, 1, 1);
    expect_sack(&b, 1, 0, 0, NULL);
    bench_run(&b);
    expect_prediction(&b, &im);
}

static void test_refuses_k(void)
{
    static const uint8_t wrong[] = {0, CLASSES + 1, 17, 255};
    for (size_t i = 0; i < sizeof(wrong); i++) {
        bench b;
        start(&b);
        trigger_on(&b, VP_NODE_SERIAL, 1, wrong[i], 0);
        expect_error(&b, 1, VP_ERROR_K);
        trigger_on(&b, VP_NODE_SERIAL, 1, 3, 1);
        expect_error(&b, 1, VP_ERROR_K);
        bench_run(&b);
        expect_nothing(&b);
        CHECK(source.begins == 0);
    }
}

static void test_a_trigger_replaces_what_is_not_complete(void)
{
    bench b;
    const image im = {.request = 1, .height = 40, .width = 50, .k = 6};
    const image own = captured(2);
    start(&b);
    send_chunk(&b, &im, 0, 0);
    bench_run(&b);
    trigger(&b, 2, 0);
    expect_error(&b, 1, VP_ERROR_SUPERSEDED);
    send_chunk(&b, &im, 1, 0);
    bench_run(&b);
    expect_prediction(&b, &own);
    expect_nothing(&b);
}

static void test_a_trigger_waits_for_what_is_complete(void)
{
    for (int polls = 0; polls <= MODEL_POLLS; polls++) {
        bench b;
        const image im = {.request = 1, .height = 10, .width = 10, .k = 6};
        const image own = captured(2);
        const image next = captured(3);
        start(&b);
        send_image(&b, &im);
        for (int i = 0; i < polls; i++) {
            (void)vp_node_poll(&b.node);
        }
        trigger(&b, 2, 0);
        bench_run(&b);
        expect_prediction(&b, &im);
        expect_prediction(&b, &own);
        trigger(&b, 3, 0);
        bench_run(&b);
        expect_prediction(&b, &next);
        expect_nothing(&b);
    }
}

static void test_a_newer_request_ends_a_capture(void)
{
    for (int by_trigger = 0; by_trigger < 2; by_trigger++) {
        for (uint32_t rows = 0; rows < HEIGHT; rows++) {
            bench b;
            const image own = captured(2);
            const image sent = {.request = 2, .height = 10, .width = 10, .k = 6};
            start(&b);
            source.limit = rows * WIDTH;
            trigger(&b, 1, 0);
            bench_run(&b);
            source.limit = CAPACITY;
            if (by_trigger) {
                trigger(&b, 2, 0);
            } else {
                send_image(&b, &sent);
            }
            CHECK(source.cancels == 1);
            expect_error(&b, 1, VP_ERROR_SUPERSEDED);
            trigger(&b, 1, 1);
            expect_error(&b, 1, VP_ERROR_SUPERSEDED);
            bench_run(&b);
            expect_prediction(&b, by_trigger ? &own : &sent);
            expect_nothing(&b);
            CHECK(source.begins == 1 + by_trigger);
        }
    }
}

static void test_an_older_request_begins_nothing(void)
{
    bench b;
    const image im = captured(20);
    start(&b);
    trigger(&b, 20, 0);
    trigger(&b, 19, 0);
    expect_nothing(&b);
    trigger(&b, 19, 1);
    expect_error(&b, 19, VP_ERROR_SUPERSEDED);
    bench_run(&b);
    expect_prediction(&b, &im);
    trigger(&b, (uint16_t)(20u + 0x8000u), 1);
    expect_error(&b, (uint16_t)(20u + 0x8000u), VP_ERROR_SUPERSEDED);
    trigger(&b, (uint16_t)(20u + 0x7fffu), 0);
    bench_run(&b);
    CHECK(source.begins == 2 && take(&b).header.type == VP_PREDICTION);
}

/* A chunk under the number of a capture is damage, whatever its shape. */
static void test_a_chunk_does_not_join_a_capture(void)
{
    bench b;
    const image im = captured(1);
    start(&b);
    source.limit = 0;
    trigger(&b, 1, 0);
    bench_run(&b);
    send_chunk(&b, &im, 0, 1);
    ask_report(&b, &im);
    expect_nothing(&b);
    CHECK(b.node.damaged == 2u && source.cancels == 0);
    source.limit = CAPACITY;
    bench_run(&b);
    expect_prediction(&b, &im);
}

static void test_a_trigger_does_not_join_an_input(void)
{
    bench b;
    const image im = {.request = 1, .height = 40, .width = 50, .k = 3};
    const uint16_t chunks = VP_NODE_CHUNKS(40u * 50u);
    start(&b);
    for (uint16_t chunk = 0; chunk + 1u < chunks; chunk++) {
        send_chunk(&b, &im, chunk, 0);
        trigger(&b, 1, chunk & 1);
    }
    bench_run(&b);
    expect_nothing(&b);
    CHECK(b.node.damaged == chunks - 1u && source.begins == 0);
    send_chunk(&b, &im, (uint16_t)(chunks - 1u), 0);
    bench_run(&b);
    expect_prediction(&b, &im);
    expect_nothing(&b);
}

static void test_a_restarted_gateway_ends_a_capture(void)
{
    bench b;
    const image im = captured(1);
    start(&b);
    source.limit = 2u * WIDTH;
    trigger(&b, 1, 0);
    bench_run(&b);
    b.counter = (uint64_t)4 << VP_WIRE_SEQUENCE_BITS;
    source.limit = CAPACITY;
    trigger(&b, 1, 1);
    CHECK(source.cancels == 1 && source.begins == 2);
    expect_sack(&b, 1, 0, 0, NULL);
    bench_run(&b);
    expect_prediction(&b, &im);
    expect_nothing(&b);
}

static void test_damaged_triggers(void)
{
    static const uint8_t payloads[][5] = {{1, 0, 3}, {1, 0, 3, 0, 0}, {1, 0, 3, 2}};
    static const size_t sizes[] = {3, 5, 4};
    bench b;
    start(&b);
    for (size_t i = 0; i < 3u; i++) {
        uint8_t message[VP_WIRE_MAX_MESSAGE];
        (void)bench_deliver(&b, VP_NODE_SERIAL, VP_TRIGGER, NODE, payloads[i], sizes[i], message);
    }
    bench_run(&b);
    expect_nothing(&b);
    CHECK(b.node.damaged == 3u && source.begins == 0);
}

int main(void)
{
    test_captures_and_answers();
    test_works_while_it_captures();
    test_the_same_request_again();
    test_a_trigger_that_also_asks();
    test_refuses_k();
    test_a_trigger_replaces_what_is_not_complete();
    test_a_trigger_waits_for_what_is_complete();
    test_a_newer_request_ends_a_capture();
    test_an_older_request_begins_nothing();
    test_a_chunk_does_not_join_a_capture();
    test_a_trigger_does_not_join_an_input();
    test_a_restarted_gateway_ends_a_capture();
    test_damaged_triggers();
    CHECK_DONE();
}
