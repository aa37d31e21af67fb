/* A model whose runtime may refuse or fail, in place of the compiled ones' runtime. */
#include "node_bench.h"

static const image small = {.request = 1, .height = 8, .width = 8, .k = 2};

static int begin_result;
static int step_result;
static uint32_t rows;

int vp_model_begin(const vp_model *m, vp_arena_t *arena)
{
    (void)m;
    (void)arena;
    rows = 0;
    return begin_result;
}

int8_t *vp_model_row_wanted(const vp_model *m, vp_arena_t *arena)
{
    return rows < SIDE ? (int8_t *)arena + rows * m->input_row_size : NULL;
}

void vp_model_row_given(const vp_model *m, vp_arena_t *arena)
{
    (void)m;
    (void)arena;
    rows++;
}

uint32_t vp_model_row_number(const vp_model *m, const vp_arena_t *arena)
{
    (void)m;
    (void)arena;
    return rows;
}

int vp_model_step(const vp_model *m, vp_arena_t *arena)
{
    (void)m;
    for (uint32_t c = 0; c < CLASSES; c++) {
        ((int8_t *)arena)[c] = (int8_t)(((int8_t *)arena)[3u * c] - 1);
    }
    rows += step_result == 1 ? 1u : 0u;
    return step_result;
}

int vp_model_done(const vp_model *m, const vp_arena_t *arena)
{
    (void)m;
    (void)arena;
    return rows > SIDE;
}

const int8_t *vp_model_output(const vp_model *m, const vp_arena_t *arena)
{
    (void)m;
    return (const int8_t *)arena;
}

static void test_a_refused_model_does_not_start(void)
{
    bench b;
    vp_node node;
    begin_result = 0;
    step_result = 1;
    bench_start(&b, 1);
    begin_result = -1;
    CHECK(vp_node_init(&node, &b.config) == VP_NODE_CONFIG);
}

static void test_a_failed_inference_is_an_error_and_the_next_one_is_not(void)
{
    bench b;
    image im = small;
    begin_result = 0;
    step_result = 1;
    bench_start(&b, 1);

    step_result = -1;
    send_image(&b, &im);
    bench_run(&b);
    expect_error(&b, im.request, VP_ERROR_MODEL);
    expect_nothing(&b);
    ask_report(&b, &im);
    expect_error(&b, im.request, VP_ERROR_MODEL);

    step_result = 1;
    im.request++;
    send_image(&b, &im);
    bench_run(&b);
    expect_prediction(&b, &im);
    expect_nothing(&b);
}

/* The runtime fails before the whole input is here: the rest of it is not asked for. */
static void test_an_inference_that_fails_on_half_an_input(void)
{
    const image tailed = {.request = 1, .height = 50, .width = 32, .k = 2}; /* all counts but chunk 3 */
    bench b;
    image im = small;
    begin_result = 0;
    step_result = 1;
    bench_start(&b, 1);
    step_result = -1;
    for (uint16_t chunk = 0; chunk < 3u; chunk++) {
        send_chunk(&b, &tailed, chunk, 0);
    }
    bench_run(&b);
    expect_error(&b, tailed.request, VP_ERROR_MODEL);
    bench_wait_ms(&b, 200);
    send_chunk(&b, &tailed, 3, 0);
    bench_run(&b);
    expect_nothing(&b);
    ask_report(&b, &tailed);
    expect_error(&b, tailed.request, VP_ERROR_MODEL);

    step_result = 1;
    im.request++;
    send_image(&b, &im);
    bench_run(&b);
    expect_prediction(&b, &im);
}

static void test_a_start_that_fails_later_is_an_error(void)
{
    bench b;
    begin_result = 0;
    step_result = 1;
    bench_start(&b, 1);
    begin_result = -1;
    send_image(&b, &small);
    bench_run(&b);
    expect_error(&b, small.request, VP_ERROR_MODEL);
    expect_nothing(&b);
}

int main(void)
{
    test_a_refused_model_does_not_start();
    test_a_failed_inference_is_an_error_and_the_next_one_is_not();
    test_an_inference_that_fails_on_half_an_input();
    test_a_start_that_fails_later_is_an_error();
    CHECK_DONE();
}
