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

_Static_assert(VP_IMAGE_INPUT_CAPACITY >= 1u &&
                   VP_IMAGE_INPUT_CAPACITY <= 65536u * VP_WIRE_CHUNK_SIZE,
               "the input has more chunks than a chunk number can count");
_Static_assert(VP_NODE_MAX_MESSAGE <= VP_NET_MAX_PAYLOAD, "a message does not fit a datagram");

typedef struct node_app {
    vp_provision identity;
    vp_node node;
    vp_net net;
    int has_net;
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

static uint32_t next_boot(void *context)
{
    (void)context;
    return vp_board_next_boot(0);
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
        vp_board_serial_write(frame, (size_t)encoded + 1u);
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
        if (vp_net_receive(&self->net, self->frame, size, now_ms(), &datagram) == VP_NET_DATAGRAM) {
            vp_node_receive(&self->node, VP_NODE_UDP, datagram.data, datagram.size);
        }
    }
}

static int start_net(node_app *self)
{
    const vp_provision *identity = &self->identity;
    vp_net_config config = {.port = identity->port, .send = send_frame};
    memcpy(config.mac, identity->mac, sizeof(config.mac));
    memcpy(config.address, identity->address, sizeof(config.address));
    memcpy(config.netmask, identity->netmask, sizeof(config.netmask));
    memcpy(config.router, identity->router, sizeof(config.router));
    return vp_net_init(&self->net, &config) == VP_NET_OK &&
           vp_board_ethernet_start(identity->mac) == 0;
}

static int start(node_app *self)
{
    if (vp_provision_unpack(vp_board_provision_block(), &self->identity) != VP_WIRE_OK) {
        return 0;
    }
    self->has_net = start_net(self);
    const vp_node_config config = {
        .port =
            {.context = self, .send = send_message, .now_us = now_us, .next_boot = next_boot},
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
        .firmware = {VP_VERSION_MAJOR, VP_VERSION_MINOR, VP_VERSION_PATCH},
        .boot = vp_board_next_boot(self->identity.boot),
        .board = VP_BOARD_NAME,
    };
    return vp_node_init(&self->node, &config) == VP_NODE_OK;
}

int main(void)
{
    vp_board_init();
    if (!start(&app)) {
        /* Without a valid identity (never provisioned, or interrupted half-way) a board is nobody: it
         * stays silent on every link until it is provisioned. */
        for (;;) {
            vp_board_feed_watchdog();
            vp_board_sleep();
        }
    }
    for (;;) {
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
