/* One node on one board: links, network and state machine put together, and the main loop. */
#include <string.h>

#include "vp/board.h"
#include "vp/image.h"
#include "vp/net.h"
#include "vp/version.h"
#include "vp_image_config.h"

/* Enough for what the NIC and the serial ring can hold; the rest waits for the next turn. */
#define FRAMES_PER_TURN 8
#define SERIAL_READS_PER_TURN (VP_BOARD_SERIAL_RING / sizeof(((node_app *)0)->bytes))

/* What one turn may wait for the serial line, all its messages together: far below the watchdog. What
 * does not go out is lost, and asked for again. */
#define SERIAL_PATIENCE_US 100000u

/* What vp_node_init asks of an image, as far as the compiler can tell. */
_Static_assert(VP_IMAGE_INPUT_CAPACITY >= 1u &&
                   VP_IMAGE_INPUT_CAPACITY <= 65536u * VP_WIRE_CHUNK_SIZE,
               "the input has more chunks than a chunk number can count");
_Static_assert(VP_IMAGE_RESOLUTION >= 1u &&
                   VP_IMAGE_RESOLUTION + VP_IMAGE_MARGIN <= VP_RESIZE_MAX_SIDE,
               "the resized input is larger than the resize can make");
_Static_assert(VP_IMAGE_CROP_TOP <= VP_IMAGE_MARGIN && VP_IMAGE_CROP_LEFT <= VP_IMAGE_MARGIN,
               "the crop leaves the resized input");
_Static_assert(VP_IMAGE_INPUT_HEIGHT * VP_IMAGE_INPUT_WIDTH * VP_IMAGE_CHANNELS <=
                   VP_IMAGE_INPUT_CAPACITY,
               "the fleet's images do not fit the input");
_Static_assert(VP_IMAGE_CHANNELS >= 1u && VP_IMAGE_CHANNELS <= 255u, "no such number of channels");
_Static_assert(VP_IMAGE_CLASSES >= 1u && VP_IMAGE_CLASSES <= 65535u, "no such number of classes");
_Static_assert(VP_NODE_MAX_MESSAGE <= VP_NET_MAX_PAYLOAD, "a message does not fit a datagram");

typedef struct node_app {
    vp_provision identity;
    vp_node node;
    vp_net net;
    int has_net;
    uint32_t serial_patience_us; /* What is left of it in this turn. */
    vp_deframer deframer;
    uint8_t bytes[256];
    uint8_t message[VP_WIRE_MAX_MESSAGE];
    uint8_t frame[VP_NET_MAX_FRAME];
    uint8_t chunk_map[VP_NODE_CHUNK_MAP_SIZE(VP_IMAGE_INPUT_CAPACITY)];
} node_app;

static node_app app;
static vp_arena_t arena[VP_ARENA_WORDS(VP_IMAGE_ARENA_SIZE)];
static uint8_t input[VP_IMAGE_INPUT_CAPACITY];

static uint64_t now_us(void *context)
{
    (void)context;
    return vp_board_now_us();
}

static uint64_t now_ms(void)
{
    return vp_board_now_us() / 1000u;
}

/* Stored before it is used. Where it cannot be, the counter still rises over resets. */
static uint32_t next_boot(void *context)
{
    const node_app *self = context;
    const uint32_t provisioned = self->identity.boot;
    const uint32_t stored = vp_board_stored_boot() + 1u;
    const uint32_t boot = vp_board_next_boot(stored > provisioned ? stored : provisioned);
    (void)vp_board_store_boot(boot);
    return boot;
}

static void keep_gateway_boot(void *context, uint32_t boot)
{
    (void)context;
    vp_board_keep_gateway_boot(boot);
}

static int capture_begin(void *context, vp_capture *capture)
{
    (void)context;
    return vp_board_capture_begin(capture);
}

static int capture_poll(void *context, vp_capture *capture)
{
    (void)context;
    return vp_board_capture_poll(capture);
}

static void capture_cancel(void *context)
{
    (void)context;
    vp_board_capture_cancel();
}

static void write_serial(node_app *self, const uint8_t *data, size_t size)
{
    const uint64_t before = vp_board_now_us();
    if (self->serial_patience_us == 0u) {
        return;
    }
    vp_board_serial_write(data, size, self->serial_patience_us);
    const uint64_t spent = vp_board_now_us() - before;
    self->serial_patience_us -=
        spent < self->serial_patience_us ? (uint32_t)spent : self->serial_patience_us;
}

static void send_message(void *context, enum vp_node_link link, const uint8_t *message, size_t size)
{
    node_app *self = context;
    if (link == VP_NODE_UDP) {
        if (self->has_net) {
            (void)vp_net_send(&self->net, self->identity.gateway, self->identity.gateway_port,
                              message, size, now_ms());
        }
        return;
    }
    uint8_t frame[VP_NODE_MAX_MESSAGE + 2];
    const int encoded = vp_cobs_encode(message, size, frame, sizeof(frame) - 1u);
    if (encoded > 0) {
        frame[encoded] = 0;
        write_serial(self, frame, (size_t)encoded + 1u);
    }
}

static void send_frame(void *context, const uint8_t *frame, size_t size)
{
    (void)context;
    vp_board_ethernet_write(frame, size);
}

static void receive_serial(node_app *self)
{
    for (size_t turn = 0; turn < SERIAL_READS_PER_TURN; turn++) {
        const size_t count = vp_board_serial_read(self->bytes, sizeof(self->bytes));
        if (count == 0u) {
            return;
        }
        vp_node_note_traffic(&self->node, VP_NODE_SERIAL);
        for (size_t i = 0; i < count; i++) {
            const int framed = vp_deframer_push(&self->deframer, self->bytes[i]);
            if (framed == 0) {
                continue;
            }
            const int size = framed < 0 ? framed
                                        : vp_cobs_decode(self->deframer.frame, (size_t)framed,
                                                         self->message, sizeof(self->message));
            if (size < 0) {
                vp_node_count_damaged(&self->node);
            } else {
                vp_node_receive(&self->node, VP_NODE_SERIAL, self->message, (size_t)size);
            }
        }
    }
}

static void receive_ethernet(node_app *self)
{
    for (unsigned turn = 0; turn < FRAMES_PER_TURN; turn++) {
        const size_t size = vp_board_ethernet_read(self->frame, sizeof(self->frame));
        vp_net_datagram datagram;
        if (size == 0u) {
            return;
        }
        const int result = vp_net_receive(&self->net, self->frame, size, now_ms(), &datagram);
        if (result == VP_NET_DATAGRAM) {
            vp_node_receive(&self->node, VP_NODE_UDP, datagram.data, datagram.size);
        } else if (result == VP_NET_MALFORMED) {
            vp_node_count_damaged(&self->node);
        }
    }
}

static int start_net(node_app *self)
{
    const vp_provision *identity = &self->identity;
    vp_net_config config = {
        .port = identity->port, .group_port = identity->group_port, .send = send_frame};
    memcpy(config.mac, identity->mac, sizeof(config.mac));
    memcpy(config.address, identity->address, sizeof(config.address));
    memcpy(config.netmask, identity->netmask, sizeof(config.netmask));
    memcpy(config.router, identity->router, sizeof(config.router));
    memcpy(config.group, identity->group, sizeof(config.group));
    return vp_net_init(&self->net, &config) == VP_NET_OK &&
           vp_board_ethernet_start(identity->mac) == 0;
}

static int start(node_app *self)
{
    self->has_net = start_net(self);
    vp_node_config config = {
        .port =
            {.context = self,
             .send = send_message,
             .now_us = now_us,
             .next_boot = next_boot,
             .keep_gateway_boot = keep_gateway_boot},
        .variant = &vp_image_variant,
        .identity = &self->identity,
        .arena = arena,
        .arena_size = sizeof(arena),
        .input = input,
        .input_capacity = sizeof(input),
        .chunk_map = self->chunk_map,
        .chunk_map_size = sizeof(self->chunk_map),
        .links = (uint8_t)(1u << VP_NODE_SERIAL | (self->has_net ? 1u << VP_NODE_UDP : 0u)),
        .reset_cause = vp_board_reset_cause(),
        .fault = vp_board_fault(),
        .firmware = {VP_VERSION_MAJOR, VP_VERSION_MINOR, VP_VERSION_PATCH},
        .boot = next_boot(self),
        .gateway_boot = vp_board_gateway_boot(),
        .board = VP_BOARD_NAME,
    };
    if (vp_board_source_start() == 0) {
        config.port.capture_begin = capture_begin;
        config.port.capture_poll = capture_poll;
        config.port.capture_cancel = capture_cancel;
    }
    return vp_node_init(&self->node, &config) == VP_NODE_OK;
}

static void do_nothing(void)
{
    for (;;) {
        vp_board_feed_watchdog();
        vp_board_sleep();
    }
}

/* For a person with a terminal. The zeros keep it apart from frames: a gateway drops it as garbage. */
static void complain(void)
{
    static const uint8_t text[] = "\0vp: this image does not fit its model: build it again\r\n";
    vp_board_serial_write(text, sizeof(text), SERIAL_PATIENCE_US);
}

int main(void)
{
    vp_board_init();
    /* Without a valid identity (never provisioned, or interrupted half-way) a board is nobody: it stays
     * silent on every link until it is provisioned. */
    if (vp_provision_unpack(vp_board_provision_block(), &app.identity) != VP_WIRE_OK) {
        do_nothing();
    }
    if (!start(&app)) {
        complain();
        do_nothing();
    }
    for (;;) {
        app.serial_patience_us = SERIAL_PATIENCE_US;
        receive_serial(&app);
        if (app.has_net) {
            receive_ethernet(&app);
            vp_net_poll(&app.net, now_ms());
        }
        if (!vp_node_poll(&app.node)) {
            vp_board_sleep();
        }
        vp_board_feed_watchdog();
    }
}
