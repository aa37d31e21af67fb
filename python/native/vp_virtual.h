/**
 * @file vp_virtual.h
 * Many nodes in one process, on real UDP sockets: what a fleet of boards says, without the boards.
 *
 * Each node speaks the whole protocol under its own key and counter, from its own address: HELLO,
 * SACK, PREDICTION, ERROR, and what DISCOVER, INPUT and TRIGGER ask for. Only its model is replaced:
 * by a table of answers, or by a rule. It answers wrongly, late, twice or not at all if told to, by a
 * seeded generator. All memory is the caller's. For Linux: several nodes share a socket that tells
 * which address a datagram came to (IP_PKTINFO).
 */
#ifndef VP_VIRTUAL_H
#define VP_VIRTUAL_H

#include <stddef.h>
#include <stdint.h>

#include "vp/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VP_VIRTUAL_MAX_CHUNKS 256   /**< Of an input: 128 KiB. */
#define VP_VIRTUAL_MEMORY 4         /**< Latest answers that a REPORT can bring again. */
#define VP_VIRTUAL_BATCH 64         /**< Datagrams of one system call. */
#define VP_VIRTUAL_MAX_SENT 80      /**< Bytes of the longest message that a node sends. */
#define VP_VIRTUAL_REQUESTS 65536   /**< Requests that have different numbers. */

enum vp_virtual_error {
    VP_VIRTUAL_UNSUPPORTED = -1, /**< Not on this system. */
    VP_VIRTUAL_SOCKET = -2       /**< A socket failed; `error` has the errno. */
};

/** What a node does wrong. Chances are of each message that it sends, in 1 / 65536. */
typedef struct vp_virtual_faults {
    uint32_t drop;      /**< Not sent. */
    uint32_t duplicate; /**< Sent twice. */
    uint32_t garble;    /**< One bit differs. */
    uint32_t forge;     /**< Of a prediction: followed by another that a stranger made up. */
    uint8_t lie;        /**< 1: predictions are wrong, and sure. */
    uint8_t stall;      /**< 1: inputs are taken and never answered. */
    uint32_t slow_us;   /**< More time to each answer. */
} vp_virtual_faults;

/** What a node did since the start. */
typedef struct vp_virtual_counts {
    uint64_t received;
    uint64_t rejected;    /**< Forged, replayed or foreign. */
    uint64_t sent;        /**< Datagrams handed to the system, wrong ones included. */
    uint64_t hellos;
    uint64_t sacks;
    uint64_t predictions; /**< Made, again or not; before drop and duplicate. */
    uint64_t errors;
    uint64_t triggers;
    uint64_t dropped;
    uint64_t duplicated;
    uint64_t garbled;
    uint64_t forged;
    uint64_t lies;
    uint64_t stalled;     /**< Inputs that it stalled at. */
} vp_virtual_counts;

typedef struct vp_virtual_answer {
    uint8_t known;
    vp_prediction prediction;
    uint32_t chunks;
} vp_virtual_answer;

/** An input that is complete. */
typedef struct vp_virtual_work {
    uint8_t active;
    uint16_t request;
    uint8_t k;
    uint32_t chunks;
    uint64_t digest;
    uint64_t complete_ns;
    uint64_t due_ns;
} vp_virtual_work;

typedef struct vp_virtual_node {
    /* The caller's. */
    uint16_t id;
    uint16_t socket;         /**< Place of its socket in vp_virtual.sockets. */
    uint32_t address;        /**< Its IPv4 address as a number, on its socket no other's. */
    uint8_t key[VP_WIRE_KEY_SIZE];
    vp_hello hello;          /**< Uptime and rejected messages are filled in. */
    uint32_t column;         /**< Its answers in the table. */
    uint32_t answer_us;      /**< Time from a complete input to the answer. */
    uint8_t alive;
    uint64_t counter;        /**< Of its next message. */
    vp_virtual_faults faults;

    /* The node's own; vp_virtual_boot begins them anew. */
    vp_virtual_counts counts;
    uint64_t started_ns;
    uint64_t rejected_before; /**< Messages rejected when it booted: HELLO tells the later ones. */
    uint64_t hello_ns;
    vp_replay replay;
    uint64_t gateway_boot;
    uint8_t has_latest;
    uint16_t latest;
    uint8_t receiving;       /**< enum input_state of virtual_input.c. */
    vp_virtual_work input;
    uint32_t image_size;
    uint32_t received;
    uint64_t heard_ns;
    uint8_t reports;
    uint8_t here[VP_VIRTUAL_MAX_CHUNKS / 8];
    vp_virtual_work work;
    vp_virtual_answer answers[VP_VIRTUAL_MEMORY];
    uint8_t next_answer;
} vp_virtual_node;

typedef struct vp_virtual_sent {
    uint32_t node;           /**< Place in vp_virtual.nodes. */
    uint16_t size;
    uint16_t request;
    uint8_t is_first_prediction;
    uint8_t data[VP_VIRTUAL_MAX_SENT];
} vp_virtual_sent;

typedef struct vp_virtual {
    /* The caller's: set before vp_virtual_boot, and left where they are. */
    vp_virtual_node *nodes;  /**< Of one socket next to each other, by rising address. */
    uint32_t node_count;
    uint64_t *wakes;         /**< node_count numbers. */
    const int *sockets;      /**< Bound, non-blocking, with IP_PKTINFO. */
    uint32_t *first_nodes;   /**< For each socket its first node; node_count at the end. */
    uint32_t socket_count;   /**< Up to VP_VIRTUAL_BATCH. */
    uint32_t gateway_address; /**< IPv4 as a number. */
    uint16_t gateway_port;
    uint32_t group_address;  /**< 0: none. */
    uint8_t fleet;
    uint8_t authenticated;
    uint16_t classes;
    uint8_t group_key[VP_WIRE_KEY_SIZE];
    uint32_t hello_ms;
    uint32_t image_capacity; /**< Bytes. */
    const uint64_t *digests; /**< Images of the table, rising. */
    uint32_t rows;
    uint32_t columns;
    uint32_t depth;          /**< Entries of each answer of the table. */
    const vp_entry *table;   /**< rows x columns x depth. */
    uint64_t *sent_ns;       /**< VP_VIRTUAL_REQUESTS numbers: when the last new PREDICTION of
                                  each request went to the system (CLOCK_MONOTONIC); NULL: not
                                  kept. */
    uint64_t random;         /**< Seed, not 0. */

    /* The library's. */
    int error;               /**< errno of VP_VIRTUAL_SOCKET. */
    uint64_t wake_ns;
    uint64_t now_ns;
    uint64_t verified_key;   /**< 1 + the node whose key checked the message below; 0: the group's. */
    uint32_t verified_size;
    uint64_t verified_digest;
    uint8_t verified[VP_WIRE_MAX_MESSAGE];
    uint32_t waiting;
    vp_virtual_sent out[VP_VIRTUAL_BATCH];
} vp_virtual;

/** CLOCK_MONOTONIC in nanoseconds. */
uint64_t vp_virtual_now(void);

/** What a table knows an image by. */
uint64_t vp_virtual_digest(const uint8_t *image, size_t size);

/** What stands for an image in the answer to a trigger. */
uint64_t vp_virtual_trigger_digest(uint16_t request);

/** The rule by which a node answers what no table has: `k` entries for a digest. */
void vp_virtual_rule(uint64_t digest, uint32_t column, uint16_t classes, uint8_t k,
                     vp_entry *entries);

/** A node starts (again): its counter is the caller's. It says HELLO when vp_virtual_run goes on. */
void vp_virtual_boot(vp_virtual *fleet, uint32_t node);

/**
 * Runs all nodes until `until_ns`. @return datagrams received, or a vp_virtual_error.
 */
int vp_virtual_run(vp_virtual *fleet, uint64_t until_ns);

#ifdef __cplusplus
}
#endif

#endif
