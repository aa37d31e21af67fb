/* boards/common/main.c on a board of the test's own: what it says at start, which boot counter it uses,
 * how long it waits for the serial line. */
#include <setjmp.h>

#include "node_bench.h"
#include "vp/board.h"

#define VP_BOARD_NAME "bench"
int app_main(void);
#define main app_main
#include "../boards/common/main.c"
#undef main

#define MAX_WRITTEN 16384
#define NO_FLASH UINT32_MAX

static struct {
    uint8_t block[VP_PROVISION_SIZE];
    uint64_t now_us;
    const uint8_t *received;
    size_t received_size;
    uint8_t written[MAX_WRITTEN];
    size_t written_size;
    uint32_t writes;
    uint32_t write_us;        /* What one write takes, or its patience if that is shorter. */
    uint32_t waited_us;       /* In writes since the turn began. */
    uint32_t longest_turn_us;
    uint32_t boot;            /* RAM that a reset leaves alone. */
    uint32_t gateway_boot;
    uint32_t stored_boot;     /* Flash; NO_FLASH: the board has none. */
    uint8_t reset_cause;
    int has_source;
    unsigned sleeps;
    jmp_buf over;
} board;

const vp_node_variant vp_image_variant = {
    .model = &model, .input_height = 50, .input_width = 40, .lut = lut};

void vp_board_init(void)
{
}

uint64_t vp_board_now_us(void)
{
    return board.now_us;
}

size_t vp_board_serial_read(uint8_t *out, size_t capacity)
{
    const size_t count = board.received_size < capacity ? board.received_size : capacity;
    if (count != 0u) {
        memcpy(out, board.received, count);
        board.received += count;
        board.received_size -= count;
    }
    return count;
}

void vp_board_serial_write(const uint8_t *data, size_t size, uint32_t patience_us)
{
    const uint32_t took = board.write_us < patience_us ? board.write_us : patience_us;
    board.now_us += took;
    board.waited_us += took;
    board.writes++;
    CHECK(board.written_size + size <= MAX_WRITTEN);
    memcpy(board.written + board.written_size, data, size);
    board.written_size += size;
}

int vp_board_ethernet_start(const uint8_t mac[6])
{
    (void)mac;
    return -1;
}

size_t vp_board_ethernet_read(uint8_t *frame, size_t capacity)
{
    (void)frame;
    (void)capacity;
    return 0;
}

void vp_board_ethernet_write(const uint8_t *frame, size_t size)
{
    (void)frame;
    (void)size;
}

int vp_board_source_start(void)
{
    return board.has_source ? 0 : -1;
}

int vp_board_capture_begin(vp_capture *capture)
{
    capture->height = 40;
    return 0;
}

int vp_board_capture_poll(vp_capture *capture)
{
    const uint32_t size = (uint32_t)capture->height * capture->width;
    for (; capture->filled < size; capture->filled++) {
        capture->pixels[capture->filled] = image_byte(capture->request, capture->filled);
    }
    return 0;
}

void vp_board_capture_cancel(void)
{
}

const uint8_t *vp_board_provision_block(void)
{
    return board.block;
}

uint8_t vp_board_reset_cause(void)
{
    return board.reset_cause;
}

const vp_fault *vp_board_fault(void)
{
    return NULL;
}

uint32_t vp_board_next_boot(uint32_t least)
{
    board.boot = board.boot + 1u > least ? board.boot + 1u : least;
    return board.boot;
}

uint32_t vp_board_stored_boot(void)
{
    return board.stored_boot == NO_FLASH ? 0u : board.stored_boot;
}

int vp_board_store_boot(uint32_t boot)
{
    if (board.stored_boot == NO_FLASH) {
        return 0;
    }
    board.stored_boot = boot;
    return 1;
}

uint32_t vp_board_gateway_boot(void)
{
    return board.gateway_boot;
}

void vp_board_keep_gateway_boot(uint32_t boot)
{
    board.gateway_boot = boot;
}

void vp_board_feed_watchdog(void)
{
    board.longest_turn_us =
        board.waited_us > board.longest_turn_us ? board.waited_us : board.longest_turn_us;
    board.waited_us = 0;
}

void vp_board_sleep(void)
{
    board.now_us += 20000u;
    if (++board.sleeps == 3u) {
        longjmp(board.over, 1);
    }
}

/* Power comes back: RAM is lost, the flash is not. */
static void power_on(int provisioned)
{
    const uint32_t stored = board.stored_boot;
    const vp_provision identity = {.fleet = FLEET, .node = NODE, .boot = 40, .hello_ms = 60000};
    memset(&board, 0, sizeof(board));
    board.stored_boot = stored;
    if (provisioned) {
        CHECK(vp_provision_pack(&identity, board.block) == VP_WIRE_OK);
    }
}

/* Runs from reset until the node has slept three times. */
static void run_board(void)
{
    memset(&app, 0, sizeof(app));
    board.sleeps = 0;
    board.written_size = 0;
    if (setjmp(board.over) == 0) {
        (void)app_main();
    }
}

/* The first whole frame that the board wrote, or the first of a type. @return its payload's size or a
 * negative error; 0 if there is none. */
static int first_message_of(uint8_t type, uint8_t *message, vp_wire_header *header)
{
    vp_deframer deframer = {0};
    for (size_t i = 0; i < board.written_size; i++) {
        const int framed = vp_deframer_push(&deframer, board.written[i]);
        if (framed != 0) {
            const int size = vp_cobs_decode(deframer.frame, (size_t)framed, message,
                                            VP_WIRE_MAX_MESSAGE);
            const int peeked = size < 0 ? size : vp_message_peek(message, (size_t)size, header);
            if (peeked < 0 || type == 0u || header->type == type) {
                return peeked < 0 ? peeked : vp_message_verify(message, (size_t)size, NULL);
            }
        }
    }
    return 0;
}

static int first_message(uint8_t *message, vp_wire_header *header)
{
    return first_message_of(0, message, header);
}

static uint32_t boot_of_hello(void)
{
    uint8_t message[VP_WIRE_MAX_MESSAGE];
    vp_wire_header header = {0};
    CHECK(first_message(message, &header) > 0 && header.type == VP_HELLO);
    return (uint32_t)(header.counter >> VP_WIRE_SEQUENCE_BITS);
}

static void test_nobody_is_silent(void)
{
    board.stored_boot = NO_FLASH;
    power_on(0);
    run_board();
    CHECK(board.writes == 0u && board.sleeps == 3u);
}

static void test_wrong_image_says_so(void)
{
    uint8_t message[VP_WIRE_MAX_MESSAGE];
    vp_wire_header header;
    board.stored_boot = NO_FLASH;
    power_on(1);
    board.reset_cause = VP_RESET_FAULT + 1;
    run_board();
    CHECK(board.writes == 1u && board.written_size > 8u);
    CHECK(memcmp(board.written, "\0vp: ", 5) == 0 && board.written[board.written_size - 1u] == 0u);
    CHECK(first_message(message, &header) < 0);
}

static void test_boot_counter(void)
{
    board.stored_boot = NO_FLASH;
    power_on(1);
    run_board();
    CHECK(boot_of_hello() == 40u);
    run_board();
    CHECK(boot_of_hello() == 41u);
    power_on(1);
    run_board();
    CHECK(boot_of_hello() == 40u);

    board.stored_boot = 0;
    power_on(1);
    run_board();
    CHECK(boot_of_hello() == 40u && board.stored_boot == 40u);
    run_board();
    CHECK(boot_of_hello() == 41u && board.stored_boot == 41u);
    power_on(1);
    run_board();
    CHECK(boot_of_hello() == 42u && board.stored_boot == 42u);
    app.node.sequence = 1u << VP_WIRE_SEQUENCE_BITS;
    app.serial_patience_us = SERIAL_PATIENCE_US;
    app.node.hello_us = 0;
    board.written_size = 0;
    (void)vp_node_poll(&app.node);
    CHECK(boot_of_hello() == 43u && board.stored_boot == 43u);
}

/* As many questions as the receive ring holds, each worth an answer, to a host that reads slowly or
 * not at all. */
static void test_one_turn_waits_100_ms_at_most(void)
{
    static const uint32_t write_us[] = {3000u, 5900u, 99000u, 10000000u};
    static uint8_t questions[VP_BOARD_SERIAL_RING];
    size_t size = 0;
    uint32_t asked = 0;
    while (size + 20u <= sizeof(questions)) {
        uint8_t message[VP_WIRE_MAX_MESSAGE];
        const vp_wire_header header = {.type = VP_DISCOVER,
                                       .fleet = FLEET,
                                       .node = NODE,
                                       .counter = ((uint64_t)9 << VP_WIRE_SEQUENCE_BITS) + asked};
        const int sealed = vp_message_seal(&header, NULL, 0, NULL, message, sizeof(message));
        CHECK(sealed > 0);
        size += (size_t)vp_cobs_encode(message, (size_t)sealed, questions + size, 19);
        questions[size++] = 0;
        asked++;
    }
    board.stored_boot = NO_FLASH;
    for (size_t i = 0; i < sizeof(write_us) / sizeof(write_us[0]); i++) {
        power_on(1);
        board.received = questions;
        board.received_size = size;
        board.write_us = write_us[i];
        run_board();
        CHECK(asked > 200u && board.received_size == 0u && board.gateway_boot == 9u);
        CHECK(board.longest_turn_us == SERIAL_PATIENCE_US);
        CHECK(board.writes >= 1u && board.writes <= 2u + SERIAL_PATIENCE_US / write_us[i]);
    }
}

/* The board's source is the node's: HELLO says so, and a TRIGGER brings an answer. */
static void test_source(void)
{
    const vp_wire_header header = {
        .type = VP_TRIGGER, .fleet = FLEET, .node = VP_WIRE_ALL_NODES, .counter = 1};
    const uint8_t trigger[4] = {77, 0, 2, 0};
    uint8_t message[VP_WIRE_MAX_MESSAGE];
    uint8_t frame[VP_WIRE_MAX_FRAME];
    const int sealed = vp_message_seal(&header, trigger, 4, NULL, message, sizeof(message));
    const int framed = vp_cobs_encode(message, (size_t)sealed, frame, sizeof(frame) - 1u);
    CHECK(sealed > 0 && framed > 0);
    frame[framed] = 0;
    for (int has = 0; has < 2; has++) {
        vp_wire_header got = {0};
        vp_hello hello = {.flags = 255};
        board.stored_boot = NO_FLASH;
        power_on(1);
        board.has_source = has;
        board.received = frame;
        board.received_size = (size_t)framed + 1u;
        run_board();
        const int size = first_message_of(VP_HELLO, message, &got);
        CHECK(size > 0 && vp_hello_unpack(message + VP_WIRE_HEADER_SIZE, (size_t)size, &hello) == 0);
        CHECK(hello.flags == (has ? VP_HELLO_SENSOR : 0u));
        vp_prediction prediction = {0};
        const int answered = first_message_of(VP_PREDICTION, message, &got);
        CHECK((answered > 0) == has);
        if (answered > 0) {
            CHECK(vp_prediction_unpack(message + VP_WIRE_HEADER_SIZE, (size_t)answered, CLASSES,
                                       &prediction) == VP_WIRE_OK);
            CHECK(prediction.request == 77u && prediction.k == 2u);
            CHECK(app.node.capture.height == 40u && app.node.capture.width == 40u);
        }
    }
}

int main(void)
{
    test_nobody_is_silent();
    test_wrong_image_says_so();
    test_boot_counter();
    test_one_turn_waits_100_ms_at_most();
    test_source();
    CHECK_DONE();
}
