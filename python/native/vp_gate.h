/**
 * @file vp_gate.h
 * The gateway's gate: datagrams in batches from the socket to the votes of open requests.
 *
 * What is authentic, new and a vote of a node in good standing ends in a ballot, and no Python runs
 * for it. What is dropped is counted. Everything else is left in `records` for Python to read: the
 * message was verified and its counter accepted, if its verdict says so. All memory is the caller's.
 */
#ifndef VP_GATE_H
#define VP_GATE_H

#include <stddef.h>
#include <stdint.h>

#include "vp/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VP_GATE_BATCH 256          /**< Datagrams of one system call. */
#define VP_GATE_ROOM 544           /**< Bytes kept of each; longer ones are no messages. */
#define VP_GATE_REQUESTS 65536     /**< Numbers that a request can have. */
#define VP_GATE_NOBODY 65535       /**< Slot of a source that is no node. */
#define VP_GATE_STRANGERS 8        /**< Most of them that a batch tells of. */

enum vp_gate_error {
    VP_GATE_UNSUPPORTED = -1, /**< Not on this system. */
    VP_GATE_BLOCKED = -2,     /**< Nothing more can be read now. */
    VP_GATE_FAILED = -3       /**< The socket failed. */
};

/** Columns of the counters: one row a node, by slot, and one for the fleet. */
enum vp_gate_count {
    VP_COUNT_REQUESTS = 0,
    VP_COUNT_ANSWERS,
    VP_COUNT_LOST,
    VP_COUNT_LATE,
    VP_COUNT_DUPLICATE,
    VP_COUNT_REFUSED,
    VP_COUNT_ERRORS,
    VP_COUNT_FOREIGN,
    VP_COUNT_FORGED,
    VP_COUNT_DAMAGED,
    VP_COUNT_REPLAYED,
    VP_COUNT_CHUNKS,
    VP_COUNT_RETRANSMITTED,
    VP_COUNT_MULTICAST,
    VP_COUNT_MESSAGES_IN,
    VP_COUNT_MESSAGES_OUT,
    VP_COUNT_BYTES_IN,
    VP_COUNT_BYTES_OUT,
    VP_COUNT_EARLY,
    VP_COUNT_SPARED,
    VP_COUNT_UNCOUNTED,
    VP_COUNTS
};

/** What became of a message. */
enum vp_gate_verdict {
    VP_GATE_DROPPED = 0, /**< Counted. */
    VP_GATE_VOTED = 1,   /**< In its ballot. */
    VP_GATE_PASSED = 2,  /**< Authentic and new: to be read and acted on. */
    VP_GATE_STALE = 3,   /**< Counted as a replay, of a node that is not up. */
    VP_GATE_STRANGER = 4 /**< Looks like a HELLO of the fleet, but from nowhere known: neither
                          *   verified nor counted. */
};

enum vp_vote_state {
    VP_VOTE_ASKED = 1,
    VP_VOTE_HERE = 2,
    VP_VOTE_ERROR = 4,   /**< The node said why it has none. */
    VP_VOTE_SENT = 8,    /**< `sent` is known. */
    VP_VOTE_WORKING = 16 /**< The node's transfer waits for it. */
};

/** One node's part in a request. Times in seconds of the caller's clock. */
typedef struct vp_vote {
    double sent; /**< When the request first went out to it. */
    double at;   /**< When its vote came. */
    uint16_t time_quarter_ms;
    uint16_t wire_bytes;
    uint16_t classes[VP_WIRE_MAX_K];
    int8_t scores[VP_WIRE_MAX_K];
    uint8_t state; /**< enum vp_vote_state. */
} vp_vote;

/** The votes of an open request, by slot. */
typedef struct vp_ballot {
    vp_vote *votes;
    uint32_t size;
    uint32_t awaited; /**< Nodes asked that are up and have said nothing yet. */
    uint32_t here;    /**< Votes. */
    uint32_t asked;   /**< Nodes asked. */
    uint16_t number;
    uint8_t k;
    uint8_t touched;  /**< Whether it is among the gate's touched ones. */
} vp_ballot;

/** One node. The key's part of the tag is hashed once. */
typedef struct vp_gate_node {
    vp_blake2s keyed;
    vp_replay replay;
    double last_seen;     /**< When its last accepted message came. */
    uint64_t answered_at; /**< Messages sent to it when it last answered one. */
    int64_t boot;         /**< Boot counter of its HELLO; -1 before. */
    int64_t last_counter; /**< Highest counter sent to it; -1: none. */
    int64_t begun_boot;   /**< Our boot counter when it began its newest request; -1: none. */
    int32_t newest;       /**< Number of that request; -1: none. */
    uint32_t stale;       /**< Replays since the last accepted message. */
    uint32_t answered;    /**< Votes since Python last looked. */
    uint16_t id;
    uint8_t is_keyed;
    uint8_t alive;        /**< Whether it may be asked. */
    uint8_t open;         /**< Whether its votes count without asking Python. */
    uint8_t awaited;      /**< Whether requests wait for it. */
    uint8_t quarantined;  /**< Whether its votes are only noted. */
    uint8_t hears;        /**< Whether it is alive and listens to the group. */
    uint8_t source;       /**< Whether it has an input source. */
    uint8_t engaged;      /**< Whether it has an image, or one waits for it. */
    uint8_t doubted;      /**< Requests left for which the group does not reach it. */
    uint8_t present;      /**< 0: it is no node of the fleet any more. */
    uint8_t family;       /**< 4 or 6: it has an address; 0: none. */
    uint16_t port;
    uint32_t scope;
    uint8_t address[16];
} vp_gate_node;

/** A message for Python, at `messages + index * VP_GATE_ROOM`. */
typedef struct vp_gate_record {
    uint32_t size;
    uint32_t wire_bytes;
    uint32_t scope;      /**< With the next two: where a stranger sent from. */
    uint16_t port;
    uint8_t address[16];
    uint16_t slot;
    uint8_t verdict;
} vp_gate_record;

/** A vote that a transfer waited for. */
typedef struct vp_gate_release {
    uint16_t slot;
    uint16_t time_quarter_ms;
} vp_gate_release;

typedef struct vp_gate {
    vp_gate_node *nodes;
    uint64_t *counts;         /**< A row of VP_COUNTS for each node. */
    uint64_t *fleet_counts;   /**< One for the fleet. */
    uint16_t *places;         /**< Hash table of slots by address; VP_GATE_NOBODY where free. */
    uint32_t place_mask;      /**< Its size - 1, a power of two above twice the nodes. */
    uint32_t size;
    uint16_t classes;
    uint8_t fleet;
    vp_ballot *ballots[VP_GATE_REQUESTS];
    uint16_t record_count;
    uint16_t touched_count;
    uint16_t release_count;
    vp_gate_record records[VP_GATE_BATCH];
    uint16_t touched[VP_GATE_BATCH];
    vp_gate_release releases[VP_GATE_BATCH];
    uint8_t messages[VP_GATE_BATCH * VP_GATE_ROOM];
} vp_gate;

/** Forget the last batch's records, touched ballots and releases. */
void vp_gate_clear(vp_gate *gate);

/** Take one message that came over the link of the node at `slot` (VP_GATE_NOBODY: of none), in
 *  `wire_bytes` bytes; at most VP_GATE_BATCH after a clear. @return enum vp_gate_verdict. */
int vp_gate_take(vp_gate *gate, uint32_t slot, const uint8_t *message, size_t size,
                 uint32_t wire_bytes, double now);

/** Note a message from an address that is no node's (slot VP_GATE_NOBODY) or another node's, if it
 *  looks like a HELLO of the fleet. It counts against the VP_GATE_BATCH.
 *  @return 1, or 0 if it is to be taken. */
int vp_gate_stranger(vp_gate *gate, uint32_t slot, const uint8_t *message, size_t size,
                     const uint8_t address[16], uint16_t port, uint32_t scope);

/** Put the prediction of a verified message into its ballot. @return VP_GATE_VOTED,
 *  VP_GATE_DROPPED (counted) or, if no open request asked for it, VP_GATE_PASSED. */
int vp_gate_vote(vp_gate *gate, uint32_t slot, const vp_prediction *prediction,
                 uint32_t wire_bytes, double now);

/** Enter in a ballot that the nodes at these slots are asked. */
void vp_gate_ask(const vp_gate *gate, vp_ballot *ballot, const int64_t *slots, uint32_t count);

/** How many nodes one trigger to the group reaches, if it is meant for all that the ballot asks and
 *  takes nothing from any node that hears it; else 0. */
uint32_t vp_gate_can_tell(const vp_gate *gate, const vp_ballot *ballot);

/** A trigger under this counter, of so many bytes, goes to all that the ballot asks. */
void vp_gate_tell(vp_gate *gate, vp_ballot *ballot, uint64_t counter, uint32_t bytes, double now);

/** Enter the nodes' addresses into an empty table. */
void vp_gate_index(vp_gate *gate);

/** The slot of an address: 16 bytes, IPv4 ones mapped (RFC 4291, section 2.5.5.2). */
uint32_t vp_gate_find(const vp_gate *gate, const uint8_t address[16], uint16_t port,
                      uint32_t scope);

/** Clear, then take what waits at a UDP socket, one batch of it. @return datagrams, or
 *  VP_GATE_BLOCKED, VP_GATE_FAILED or VP_GATE_UNSUPPORTED. */
int vp_gate_receive(vp_gate *gate, int socket, double now);

/** Send messages[i] to the node at slots[i], as far as the socket takes them. One that cannot be
 *  sent for another reason is skipped. @return how many are done with, or VP_GATE_UNSUPPORTED. */
int vp_gate_send(const vp_gate *gate, int socket, const uint16_t *slots,
                 const uint8_t *const *messages, const uint16_t *sizes, uint32_t count);

/** The scaled sum of `count` votes of k entries each, by rows, divided by the total weight.
 *  Adds in the order of the rows. `shares` has `classes` numbers. */
void vp_combine(const uint16_t *class_indices, const int8_t *scores, const double *weights,
                uint32_t count, uint32_t k, uint32_t classes, double *shares);

#ifdef __cplusplus
}
#endif

#endif
