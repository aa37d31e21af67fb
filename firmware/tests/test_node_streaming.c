/* The node's inference on an input that is still arriving. Of `large`, each chunk brings what one more
 * row of the model's input is made of; of `tailed`, the last chunk brings nothing that counts. */
#include "node_bench.h"

static const image large = {.request = 1, .height = 40, .width = 50, .k = 6};  /* 4 chunks */
static const image tailed = {.request = 1, .height = 50, .width = 32, .k = 6}; /* 4 chunks */

static uint32_t random_state = 11;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % limit;
}

static uint32_t rows_taken(const bench *b)
{
    return vp_model_row_number(&model, b->arena);
}

static void test_takes_each_row_as_it_arrives(void)
{
    bench b;
    bench_start(&b, 1);
    for (uint16_t chunk = 0; chunk < 4u; chunk++) {
        expect_nothing(&b);
        CHECK(vp_node_poll(&b.node) == 0);
        send_chunk(&b, &large, chunk, 0);
        bench_run(&b);
        CHECK(rows_taken(&b) == chunk + 1u);
    }
    expect_prediction(&b, &large);
    expect_nothing(&b);
}

/* What is left to do after the last chunk: one row of four, and the steps that wait for it. */
static void test_time_counts_from_the_last_chunk(void)
{
    bench b;
    bench_start(&b, 1);
    for (uint16_t chunk = 0; chunk < 3u; chunk++) {
        send_chunk(&b, &large, chunk, 0);
        bench_wait_ms(&b, 40);
    }
    send_chunk(&b, &large, 3, 0);
    int polls = 0;
    while (b.sent_count == 0 && polls < MODEL_POLLS) {
        b.now_us += 1000u;
        polls++;
        (void)vp_node_poll(&b.node);
    }
    CHECK(polls == 4);
    CHECK(b.sent[0].payload[2] == 4u * 4u && b.sent[0].payload[3] == 0u);
    expect_prediction(&b, &large);
}

static void test_nothing_begins_without_the_first_rows(void)
{
    bench b;
    bench_start(&b, 1);
    for (uint16_t chunk = 3; chunk > 0u; chunk--) {
        send_chunk(&b, &large, chunk, 0);
        CHECK(vp_node_poll(&b.node) == 0);
    }
    send_chunk(&b, &large, 0, 0);
    bench_run(&b);
    expect_prediction(&b, &large);
}

static void test_a_filled_gap_brings_all_rows_behind_it(void)
{
    bench b;
    bench_start(&b, 1);
    send_chunk(&b, &large, 2, 0);
    send_chunk(&b, &large, 1, 0);
    bench_run(&b);
    send_chunk(&b, &large, 0, 0);
    bench_run(&b);
    CHECK(rows_taken(&b) == 3u);
    send_chunk(&b, &large, 3, 0);
    bench_run(&b);
    expect_prediction(&b, &large);
}

static void test_a_gap_holds_the_inference_and_is_asked_for(void)
{
    bench b;
    bench_start(&b, 1);
    b.identity.hello_ms = 60000;
    bench_wait_ms(&b, 1000);
    b.sent_count = 0;
    send_chunk(&b, &large, 0, 0);
    send_chunk(&b, &large, 2, 0);
    send_chunk(&b, &large, 3, 0);
    bench_run(&b);
    CHECK(rows_taken(&b) == 1u);
    for (int i = 0; i < VP_NODE_GAP_REPORTS; i++) {
        expect_nothing(&b);
        bench_wait_ms(&b, VP_NODE_GAP_MS);
        expect_sack(&b, 1, 3, 1, &(vp_sack_range){1, 1});
    }
    bench_wait_ms(&b, 1000);
    expect_nothing(&b);
    ask_report(&b, &large);
    expect_sack(&b, 1, 3, 1, &(vp_sack_range){1, 1});
    send_chunk(&b, &large, 1, 1);
    expect_sack(&b, 1, 4, 0, NULL);
    bench_run(&b);
    expect_prediction(&b, &large);
    expect_nothing(&b);
}

static void test_heartbeats_go_on_while_it_waits(void)
{
    bench b;
    bench_start(&b, 1);
    send_chunk(&b, &large, 0, 0);
    bench_run(&b);
    b.sent_count = 0;
    bench_wait_ms(&b, 1000);
    int hellos = 0;
    while (b.sent_count > 0) {
        hellos += take(&b).header.type == VP_HELLO;
    }
    CHECK(hellos == 2);
}

/* In every state that the inference can be in while its input is not complete. */
static void test_a_newer_request_ends_a_waiting_inference(void)
{
    for (uint16_t chunks = 1; chunks < 4u; chunks++) {
        for (int polls = 0; polls <= MODEL_POLLS; polls++) {
            bench b;
            image second = large;
            second.request = 2;
            bench_start(&b, 1);
            for (uint16_t chunk = 0; chunk < chunks; chunk++) {
                send_chunk(&b, &tailed, chunk, 0);
            }
            for (int i = 0; i < polls; i++) {
                (void)vp_node_poll(&b.node);
            }
            expect_nothing(&b);
            send_chunk(&b, &second, 0, 0);
            expect_error(&b, 1, VP_ERROR_SUPERSEDED);
            send_chunk(&b, &tailed, 3, 0); /* too late, and not asked for */
            expect_nothing(&b);
            ask_report(&b, &tailed);
            expect_error(&b, 1, VP_ERROR_SUPERSEDED);
            bench_run(&b);
            expect_nothing(&b);
            for (uint16_t chunk = 1; chunk < 4u; chunk++) {
                send_chunk(&b, &second, chunk, 0);
            }
            bench_run(&b);
            expect_prediction(&b, &second);
            expect_nothing(&b);
        }
    }
}

/* A request that the node refuses takes nothing from the one under way. */
static void test_a_refused_request_does_not_disturb(void)
{
    bench b;
    image refused = large;
    refused.request = 2;
    refused.k = CLASSES + 1;
    bench_start(&b, 1);
    send_chunk(&b, &large, 0, 0);
    bench_run(&b);
    send_chunk_on(&b, VP_NODE_SERIAL, &refused, 0, 0, 0);
    expect_error(&b, 2, VP_ERROR_K);
    for (uint16_t chunk = 1; chunk < 4u; chunk++) {
        send_chunk(&b, &large, chunk, 0);
    }
    bench_run(&b);
    expect_prediction(&b, &large);
}

/* The model is done, but an answer says that the whole input arrived. */
static void test_no_answer_before_the_last_chunk(void)
{
    bench b;
    bench_start(&b, 1);
    for (uint16_t chunk = 0; chunk < 3u; chunk++) {
        send_chunk(&b, &tailed, chunk, 0);
    }
    bench_run(&b);
    CHECK(vp_model_done(&model, b.arena));
    expect_nothing(&b);
    bench_wait_ms(&b, VP_NODE_GAP_MS);
    expect_sack(&b, 1, 3, 1, &(vp_sack_range){3, 1});
    send_chunk(&b, &tailed, 3, 0);
    CHECK(vp_node_poll(&b.node) == 0);
    CHECK(b.sent[0].payload[2] == 0u && b.sent[0].payload[3] == 0u);
    expect_prediction(&b, &tailed);
    ask_report(&b, &tailed);
    expect_sack(&b, 1, 4, 0, NULL);
    expect_prediction(&b, &tailed);
}

/* The last chunk comes while steps still run on the last row. */
static void test_the_last_chunk_comes_during_the_last_steps(void)
{
    for (int polls = 0; polls <= MODEL_POLLS; polls++) {
        bench b;
        bench_start(&b, 1);
        for (uint16_t chunk = 0; chunk < 3u; chunk++) {
            send_chunk(&b, &tailed, chunk, 0);
        }
        for (int i = 0; i < polls; i++) {
            (void)vp_node_poll(&b.node);
        }
        expect_nothing(&b);
        send_chunk(&b, &tailed, 3, 0);
        bench_run(&b);
        expect_prediction(&b, &tailed);
        expect_nothing(&b);
    }
}

static void test_the_next_input_streams_while_the_last_one_ends(void)
{
    for (int polls = 0; polls <= MODEL_POLLS; polls++) {
        bench b;
        image second = large;
        second.request = 2;
        bench_start(&b, 1);
        send_image(&b, &large);
        for (int i = 0; i < polls; i++) {
            (void)vp_node_poll(&b.node);
        }
        send_chunk(&b, &second, 0, 0);
        send_chunk(&b, &second, 1, 0);
        bench_run(&b);
        expect_prediction(&b, &large);
        expect_nothing(&b);
        CHECK(rows_taken(&b) == 2u);
        ask_report(&b, &second);
        expect_sack(&b, 2, 2, 1, &(vp_sack_range){2, 2});
        send_chunk(&b, &second, 2, 0);
        send_chunk(&b, &second, 3, 0);
        bench_run(&b);
        expect_prediction(&b, &second);
        expect_nothing(&b);
    }
}

static void test_the_answer_goes_where_the_last_chunk_came_from(void)
{
    bench b;
    bench_start(&b, 1);
    for (uint16_t chunk = 0; chunk < 4u; chunk++) {
        send_chunk_on(&b, chunk < 3u ? VP_NODE_SERIAL : VP_NODE_UDP, &large, chunk, 1, 0);
        bench_run(&b);
    }
    CHECK(b.sent_count == 1 && b.sent[0].link == VP_NODE_UDP);
    expect_prediction(&b, &large);
}

static void test_a_restarted_gateway_ends_a_waiting_inference(void)
{
    bench b;
    bench_start(&b, 1);
    send_chunk(&b, &large, 0, 0);
    send_chunk(&b, &large, 1, 0);
    bench_run(&b);
    b.counter = (uint64_t)4 << VP_WIRE_SEQUENCE_BITS;
    ask_report(&b, &large);
    expect_sack(&b, 1, 0, 1, &(vp_sack_range){0, 4});
    bench_run(&b);
    expect_nothing(&b);
    send_image(&b, &large);
    bench_run(&b);
    expect_prediction(&b, &large);
    expect_nothing(&b);
}

/* Random images and crops, their chunks in random order and some of them twice, with random polls in
 * between: the answer is that of the whole image, and there is one. */
static void test_any_order_of_events(void)
{
    for (int round = 0; round < 2000; round++) {
        bench b;
        vp_node_variant shown = variant;
        uint16_t order[8];
        shown.margin = (uint16_t)random_below(4);
        shown.crop_top = (uint16_t)random_below(shown.margin + 1u);
        shown.crop_left = (uint16_t)random_below(shown.margin + 1u);
        bench_start(&b, round & 1);
        b.config.variant = &shown;
        CHECK(vp_node_init(&b.node, &b.config) == VP_NODE_OK);
        (void)vp_node_poll(&b.node);
        b.sent_count = 0;
        for (uint16_t request = 1; request <= 2u; request++) {
            const uint32_t height = 1u + random_below(100);
            const uint32_t width = 1u + random_below(CAPACITY / height);
            const image im = {request, (uint16_t)height, (uint16_t)width, CLASSES};
            const uint32_t chunks = VP_NODE_CHUNKS(height * width);
            const uint32_t count = chunks + random_below(8u - chunks);
            for (uint32_t i = 0; i < count; i++) {
                const uint32_t at = random_below(i + 1u);
                order[i] = order[at];
                order[at] = (uint16_t)(i % chunks);
            }
            for (uint32_t i = 0; i < count; i++) {
                send_chunk(&b, &im, order[i], 0);
                for (uint32_t polls = random_below(6); polls > 0u; polls--) {
                    (void)vp_node_poll(&b.node);
                }
            }
            bench_run(&b);
            expect_prediction(&b, &im);
            expect_nothing(&b);
        }
    }
}

int main(void)
{
    test_takes_each_row_as_it_arrives();
    test_time_counts_from_the_last_chunk();
    test_nothing_begins_without_the_first_rows();
    test_a_filled_gap_brings_all_rows_behind_it();
    test_a_gap_holds_the_inference_and_is_asked_for();
    test_heartbeats_go_on_while_it_waits();
    test_a_newer_request_ends_a_waiting_inference();
    test_a_refused_request_does_not_disturb();
    test_no_answer_before_the_last_chunk();
    test_the_last_chunk_comes_during_the_last_steps();
    test_the_next_input_streams_while_the_last_one_ends();
    test_the_answer_goes_where_the_last_chunk_came_from();
    test_a_restarted_gateway_ends_a_waiting_inference();
    test_any_order_of_events();
    CHECK_DONE();
}
