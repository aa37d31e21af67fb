/**
 * @file vp/node.h
 * A node's state machine: receive or capture an input, resize, infer, select the top k, answer.
 *
 * The inference begins as soon as the first rows of the input are here, and goes on as rows come. It
 * takes each row of the model's input from the received ones when the model wants it.
 *
 * Knows nothing of the hardware. The caller hands in whole messages (vp_node_receive), calls
 * vp_node_poll in its main loop, and sends what the node gives to port.send. All memory is the
 * caller's; nothing here may be called from an interrupt.
 *
 *     for (;;) {
 *         (hand the messages that came in to vp_node_receive)
 *         if (!vp_node_poll(&node)) { (sleep until an interrupt) }
 *         (feed the watchdog)
 *     }
 */
#ifndef VP_NODE_H
#define VP_NODE_H

#include <stddef.h>
#include <stdint.h>

#include "vp/capture.h"
#include "vp/model.h"
#include "vp/provision.h"
#include "vp/resize.h"
#include "vp/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VP_NODE_GAP_MS 50        /**< Silence after which an incomplete input is asked for. */
#define VP_NODE_GAP_REPORTS 5    /**< Most SACKs in a row that nothing answers. */
#define VP_NODE_CAPTURE_MS 10000 /**< Silence of the board's source after which it has failed. */
#define VP_NODE_ANSWERS 4        /**< Latest answers that a REPORT can bring again. */
#define VP_NODE_MAX_PAYLOAD 52   /**< Longest payload that a node sends: 16 entries of 3 bytes. */
#define VP_NODE_MAX_MESSAGE (VP_WIRE_HEADER_SIZE + VP_NODE_MAX_PAYLOAD + VP_WIRE_TAG_SIZE)

/** 512-byte chunks of an input of `bytes` bytes. */
#define VP_NODE_CHUNKS(bytes) (((bytes) + VP_WIRE_CHUNK_SIZE - 1u) / VP_WIRE_CHUNK_SIZE)

/** Bytes of the map of received chunks for inputs up to `bytes` bytes. */
#define VP_NODE_CHUNK_MAP_SIZE(bytes) ((VP_NODE_CHUNKS(bytes) + 7u) / 8u)

enum vp_node_error {
    VP_NODE_OK = 0,
    VP_NODE_CONFIG = -1 /**< A pointer is missing, a buffer too small or a field out of range, or the
                             model's runtime refuses it. */
};

/** Where a message came from and where its answer goes. */
enum vp_node_link {
    VP_NODE_SERIAL = 0,
    VP_NODE_UDP = 1,
    VP_NODE_LINKS = 2
};

/** What a node needs of the board it runs on. */
typedef struct vp_node_port {
    void *context;                      /**< Handed to every function below. */
    /** Sends one message (at most VP_NODE_MAX_MESSAGE bytes) on a link, or drops it: what is lost
     *  is asked for again. Must not call back into the node. */
    void (*send)(void *context, enum vp_node_link link, const uint8_t *message, size_t size);
    uint64_t (*now_us)(void *context);  /**< Microseconds since some fixed moment, never falling. */
    /** A boot counter above every one used before, for when the 16-bit sequence is exhausted. */
    uint32_t (*next_boot)(void *context);
    /** Keeps the gateway's boot counter for the next reset: it has risen. */
    void (*keep_gateway_boot)(void *context, uint32_t boot);
    /** The board's own input source, all three NULL if it has none: vp_board_capture_begin, _poll and
     *  _cancel of vp/board.h. */
    int (*capture_begin)(void *context, vp_capture *capture);
    int (*capture_poll)(void *context, vp_capture *capture);
    void (*capture_cancel)(void *context);
} vp_node_port;

/** The model of an image and how an input becomes its input; constant data that `vp build` writes. */
typedef struct vp_node_variant {
    const vp_model *model;   /**< Input (1, height, width, channels), output `classes` scores. */
    uint16_t margin;         /**< Pixels by which the resized input exceeds the model's. */
    uint16_t crop_top;       /**< 0 .. margin. */
    uint16_t crop_left;      /**< 0 .. margin. */
    uint16_t input_height;   /**< Of the fleet's images, in pixels: what a source of the board's own */
    uint16_t input_width;    /**< captures unless it has a shape of its own. */
    const int8_t *lut;       /**< 256 entries: the model's int8 input for each pixel value. */
} vp_node_variant;

typedef struct vp_node_config {
    vp_node_port port;
    const vp_node_variant *variant;
    const vp_provision *identity;  /**< Fleet, node, keys, heartbeat period; outlives the node. */
    vp_arena_t *arena;             /**< The model's arena. */
    size_t arena_size;             /**< Bytes, at least variant->model->arena_size. */
    uint8_t *input;                /**< Receives an input as it was sent. */
    uint32_t input_capacity;       /**< Bytes, 1 .. 65536 * VP_WIRE_CHUNK_SIZE. */
    uint8_t *chunk_map;            /**< Which chunks are here, a bit each. */
    size_t chunk_map_size;         /**< Bytes, at least VP_NODE_CHUNK_MAP_SIZE(input_capacity). */
    uint8_t links;                 /**< Bit 1 << link: HELLO goes out there at boot and as heartbeat. */
    uint8_t reset_cause;           /**< enum vp_reset_cause. */
    const vp_fault *fault;         /**< The fault that reset the board, to be reported; NULL: none.
                                        Outlives the node. */
    uint8_t firmware[3];           /**< Version: major, minor, patch. */
    uint32_t boot;                 /**< Boot counter of this boot, 24 bits, above the last one. */
    uint32_t gateway_boot;         /**< What keep_gateway_boot kept last, 24 bits; 0: nothing. */
    const char *board;             /**< Name; HELLO carries its first 16 characters. */
} vp_node_config;

/** The input in the buffer: it is being received or captured, or is complete and waits for its turn, or is being
 *  worked on, even while it is being received. */
typedef struct vp_node_input {
    uint8_t state;                 /**< enum in node_state.h. */
    uint8_t k;
    uint8_t reports;               /**< SACKs sent since the last chunk came. */
    uint16_t request;
    enum vp_node_link link;
    uint32_t size;                 /**< Bytes of the whole input. */
    uint32_t chunks;               /**< Chunks of the whole input; 0 if it is captured. */
    uint32_t received;             /**< Chunks that are here. */
    uint32_t prefix;               /**< Chunks that are here from the first to the first gap. */
    uint32_t here;                 /**< Bytes that are here from the first to the first gap. */
    uint64_t heard_us;             /**< When its link or source was last heard, or the last SACK went. */
    uint64_t complete_us;
    vp_resize geometry;
} vp_node_input;

/** The inference under way. */
typedef struct vp_node_work {
    uint8_t phase;                 /**< enum in node_state.h. */
    uint8_t k;
    uint16_t request;
    enum vp_node_link link;        /**< Taken from the input when the buffer is released, */
    uint64_t complete_us;          /**< as this is. */
    uint32_t chunks;
} vp_node_work;

/** An answer that was sent, kept in case it was lost: a PREDICTION or an ERROR. */
typedef struct vp_node_answer {
    uint8_t type;                  /**< enum vp_wire_type; 0: empty. */
    uint8_t size;
    uint16_t request;
    uint32_t chunks;
    uint8_t payload[VP_NODE_MAX_PAYLOAD];
} vp_node_answer;

/** A node. Its fields are its own business; tests and a debugger may read them. */
typedef struct vp_node {
    vp_node_config config;
    vp_node_input input;
    vp_capture capture;
    vp_node_work work;
    vp_node_answer answers[VP_NODE_ANSWERS];
    uint8_t next_answer;           /**< The slot that the next answer takes. */
    uint8_t has_latest;
    uint16_t latest;               /**< Newest request seen. */
    uint16_t damaged;
    uint16_t rejected;
    uint32_t boot;
    uint32_t sequence;
    uint32_t gateway_boot;
    vp_replay replay;
    uint64_t start_us;
    uint64_t hello_us;             /**< When the next heartbeat is due. */
    uint8_t greeted;               /**< Bit 1 << link: the first HELLO went out there. */
} vp_node;

/** Checks the configuration and starts; the first vp_node_poll says HELLO.
 *  @return VP_NODE_OK or VP_NODE_CONFIG. */
int vp_node_init(vp_node *node, const vp_node_config *config);

/** Takes one whole message (after COBS, or a datagram). What is damaged, foreign, forged or replayed
 *  is counted and dropped. Bounded by one inference. */
void vp_node_receive(vp_node *node, enum vp_node_link link, const uint8_t *message, size_t size);

/** Counts a frame that did not even decode to a message or hold a datagram. */
void vp_node_count_damaged(vp_node *node);

/** Says that bytes came in on a link: as long as they do, a chunk may be on its way, and its input
 *  is not yet asked for (one chunk takes 47 ms at 115,200 baud). */
void vp_node_note_traffic(vp_node *node, enum vp_node_link link);

/** Does one bounded piece of work: what is due by the clock, then one row of the input or one step
 *  of the model. @return 1 if there is more to do at once, 0 if only a message or the clock brings
 *  more (the clock is to be looked at every 20 ms or so). */
int vp_node_poll(vp_node *node);

#ifdef __cplusplus
}
#endif

#endif
