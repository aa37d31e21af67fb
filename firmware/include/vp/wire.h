/**
 * @file vp/wire.h
 * The wire protocol (docs/protocol.md): framing, integrity, authentication, replay, messages.
 *
 * Pure functions on caller-owned buffers, bound to Python as they are. All numbers on the wire are
 * little-endian. Functions that can fail return a count (>= 0) or a negative vp_wire_error.
 */
#ifndef VP_WIRE_H
#define VP_WIRE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VP_WIRE_VERSION 1
#define VP_WIRE_HEADER_SIZE 9
#define VP_WIRE_TAG_SIZE 8        /**< Trailer of an authenticated message. */
#define VP_WIRE_CRC_SIZE 4        /**< Trailer of a message without a key. */
#define VP_WIRE_KEY_SIZE 32
#define VP_WIRE_CHUNK_SIZE 512    /**< Bytes of every chunk of an input but the last. */
#define VP_WIRE_MAX_MESSAGE 540   /**< An authenticated INPUT with a full chunk. */
#define VP_WIRE_MAX_FRAME 544     /**< The longest message after COBS, with its delimiter. */
#define VP_WIRE_ALL_NODES 65535   /**< Node id in a header: every node of the fleet. */
#define VP_WIRE_MAX_K 16          /**< Most entries of one PREDICTION. */
#define VP_WIRE_MAX_RANGES 8      /**< Most missing ranges of one SACK. */
#define VP_WIRE_BOARD_SIZE 16     /**< Board name in a HELLO, zero-padded. */
#define VP_WIRE_HASH_SIZE 8       /**< Model hash in a HELLO. */
#define VP_WIRE_SEQUENCE_BITS 16  /**< counter = boot << 16 | sequence; boot has 24 bits. */

enum vp_wire_error {
    VP_WIRE_OK = 0,
    VP_WIRE_SHORT = -1,    /**< Truncated, or longer than the message can be. */
    VP_WIRE_VERSION_BAD = -2,
    VP_WIRE_TYPE_BAD = -3,
    VP_WIRE_DAMAGED = -4,  /**< CRC differs. */
    VP_WIRE_FORGED = -5,   /**< Tag differs, or a key is set and the message has no tag. */
    VP_WIRE_REPLAYED = -6, /**< Counter seen before, or too old to tell. */
    VP_WIRE_SPACE = -7,    /**< The caller's buffer is too small. */
    VP_WIRE_VALUE = -8     /**< A field is out of its range. */
};

enum vp_wire_type {
    VP_HELLO = 1,      /**< Node: who I am; at boot, as heartbeat, and when asked. */
    VP_DISCOVER = 2,   /**< Gateway: answer with a HELLO. */
    VP_INPUT = 3,      /**< Gateway: one chunk of an input. */
    VP_SACK = 4,       /**< Node: which chunks of an input are here. */
    VP_PREDICTION = 5, /**< Node: the top-k of an input. */
    VP_ERROR = 6,      /**< Node: why an input gets no prediction. */
    VP_FAULT = 7,      /**< Node: the fault that reset it. */
    VP_TRIGGER = 8     /**< Gateway: capture an input of your own and answer. */
};

enum vp_reset_cause {
    VP_RESET_UNKNOWN = 0,
    VP_RESET_POWER = 1,
    VP_RESET_EXTERNAL = 2,
    VP_RESET_WATCHDOG = 3,
    VP_RESET_FAULT = 4
};

enum vp_hello_flag {
    VP_HELLO_MULTICAST = 1, /**< Listens to the group of its provisioning block. */
    VP_HELLO_SENSOR = 2     /**< Has an input source of its own: TRIGGER makes it capture. */
};

enum vp_input_flag {
    VP_INPUT_REPORT = 1 /**< Answer this chunk with a SACK (and a PREDICTION already made). */
};

enum vp_trigger_flag {
    VP_TRIGGER_REPORT = 1 /**< Say how far this request is, or why it gets no answer. */
};

enum vp_error_code {
    VP_ERROR_TOO_LARGE = 1,  /**< The input exceeds the node's capacity. */
    VP_ERROR_SHAPE = 2,      /**< Channels differ from the model's, or a side is 0 or too long. */
    VP_ERROR_K = 3,          /**< k is 0, over VP_WIRE_MAX_K, or over the number of classes. */
    VP_ERROR_SUPERSEDED = 4, /**< A newer request replaced this one before it was answered. */
    VP_ERROR_MODEL = 5,      /**< The runtime failed on this input. */
    VP_ERROR_SOURCE = 6,     /**< TRIGGER: the node has no input source. */
    VP_ERROR_CAPTURE = 7     /**< TRIGGER: the node's input source failed. */
};

typedef struct vp_wire_header {
    uint8_t type;          /**< enum vp_wire_type. */
    uint8_t authenticated; /**< 1: the trailer is a tag, 0: a CRC-32C. */
    uint8_t fleet;
    uint16_t node;         /**< The sending node, or the node that the gateway addresses. */
    uint64_t counter;      /**< 40 bits, only ever rising at one sender. */
} vp_wire_header;

typedef struct vp_hello {
    uint8_t model_hash[VP_WIRE_HASH_SIZE];
    uint16_t classes;
    uint16_t height;       /**< Of the model's own input, in pixels. */
    uint16_t width;
    uint8_t channels;
    uint32_t capacity;     /**< Bytes of the largest input that the node can receive. */
    uint8_t firmware[3];   /**< Major, minor, patch. */
    uint8_t reset_cause;   /**< enum vp_reset_cause. */
    uint32_t uptime_ms;
    uint16_t damaged;      /**< Messages and frames dropped since boot; stops at 65535. */
    uint16_t rejected;     /**< Forged, replayed or foreign ones; stops at 65535. */
    uint8_t board[VP_WIRE_BOARD_SIZE];
    uint8_t flags;         /**< enum vp_hello_flag. */
} vp_hello;

/** What the processor held when it faulted. Armv6-M has neither status nor address: 0 there. */
typedef struct vp_fault {
    uint32_t pc;           /**< Instruction that faulted, or the next one. */
    uint32_t lr;
    uint32_t psr;          /**< xPSR; bits 0-8: the exception that was taken (3: HardFault). */
    uint32_t status;       /**< CFSR. */
    uint32_t hard_status;  /**< HFSR. */
    uint32_t address;      /**< BFAR or MMFAR, whichever is valid; else 0. */
} vp_fault;

typedef struct vp_input {
    uint16_t request;
    uint8_t k;
    uint8_t flags;         /**< enum vp_input_flag. */
    uint16_t height;       /**< Of the image that is being sent, in pixels. */
    uint16_t width;
    uint8_t channels;
    uint16_t chunk;        /**< Offset of the data in units of VP_WIRE_CHUNK_SIZE. */
    uint16_t data_size;    /**< 0 .. VP_WIRE_CHUNK_SIZE; 0 asks for a report and carries nothing. */
    uint8_t data[VP_WIRE_CHUNK_SIZE];
} vp_input;

typedef struct vp_sack_range {
    uint16_t first;        /**< First missing chunk. */
    uint16_t count;        /**< Missing chunks from there on, at least 1. */
} vp_sack_range;

typedef struct vp_sack {
    uint16_t request;
    uint16_t received;     /**< Number of chunks that are here. */
    uint8_t range_count;   /**< 0 .. VP_WIRE_MAX_RANGES. */
    vp_sack_range ranges[VP_WIRE_MAX_RANGES]; /**< The first missing ranges, rising. */
} vp_sack;

typedef struct vp_entry {
    uint16_t index;        /**< Class, 0 .. classes - 1. */
    int8_t score;          /**< The model's int8 output for it. */
} vp_entry;

typedef struct vp_prediction {
    uint16_t request;
    uint16_t time_quarter_ms; /**< From the complete input to here, in 250 us, the wait
                                   for an earlier input included; stops at 65535. */
    uint8_t k;                /**< 1 .. VP_WIRE_MAX_K. */
    vp_entry entries[VP_WIRE_MAX_K]; /**< Falling score; equal scores by rising index. */
} vp_prediction;

typedef struct vp_error {
    uint16_t request;
    uint8_t code;          /**< enum vp_error_code. */
} vp_error;

typedef struct vp_trigger {
    uint16_t request;      /**< In the same order as those of INPUT. */
    uint8_t k;
    uint8_t flags;         /**< enum vp_trigger_flag. */
} vp_trigger;

/** Anti-replay window of one sender (RFC 4303, section 3.4.3); starts zeroed. */
typedef struct vp_replay {
    uint64_t highest;      /**< Highest counter accepted. */
    uint64_t seen;         /**< Bit i: highest - i was accepted. */
} vp_replay;

/** Splits a byte stream into frames; starts zeroed. */
typedef struct vp_deframer {
    uint16_t size;
    uint8_t overflow;      /**< The frame under way is too long: drop up to its delimiter. */
    uint8_t frame[VP_WIRE_MAX_FRAME];
} vp_deframer;

/** A hash that has taken in a key. */
typedef struct vp_blake2s {
    uint32_t hash[8];
} vp_blake2s;

/** CRC-32C (Castagnoli, reflected, RFC 3720 appendix B.4); start with crc = 0. */
uint32_t vp_crc32c(uint32_t crc, const uint8_t *data, size_t size);

/** Keyed BLAKE2s with an 8-byte digest (RFC 7693): hashlib.blake2s(data, key=key, digest_size=8). */
void vp_blake2s_tag(const uint8_t key[VP_WIRE_KEY_SIZE], const uint8_t *data, size_t size,
                    uint8_t tag[VP_WIRE_TAG_SIZE]);

/** The same in two steps, for many messages under one key; `size` is at least 1. */
void vp_blake2s_begin(const uint8_t key[VP_WIRE_KEY_SIZE], vp_blake2s *keyed);
void vp_blake2s_finish(const vp_blake2s *keyed, const uint8_t *data, size_t size,
                       uint8_t tag[VP_WIRE_TAG_SIZE]);

/** COBS without the delimiter. @return bytes written, or VP_WIRE_SPACE. */
int vp_cobs_encode(const uint8_t *data, size_t size, uint8_t *out, size_t capacity);

/** Inverse of vp_cobs_encode. @return bytes written, VP_WIRE_DAMAGED or VP_WIRE_SPACE. */
int vp_cobs_decode(const uint8_t *frame, size_t size, uint8_t *out, size_t capacity);

/**
 * Takes one byte of a stream. @return 0 while a frame is under way; at a delimiter the size of the
 * COBS frame now in deframer->frame (without delimiter; valid until the next call), or
 * VP_WIRE_SHORT if what ended there was too long. Empty frames are skipped (0).
 */
int vp_deframer_push(vp_deframer *deframer, uint8_t byte);

/**
 * Builds a message: header, payload, trailer (tag if key is not NULL, else CRC-32C). The payload may
 * have been packed in place, at out + VP_WIRE_HEADER_SIZE.
 * `header->authenticated` is ignored. @return its size, VP_WIRE_SPACE or VP_WIRE_VALUE.
 */
int vp_message_seal(const vp_wire_header *header, const uint8_t *payload, size_t payload_size,
                    const uint8_t *key, uint8_t *out, size_t capacity);

/** Reads a header without verifying anything. @return VP_WIRE_OK or an error. */
int vp_message_peek(const uint8_t *message, size_t size, vp_wire_header *header);

/**
 * Verifies the trailer: the tag under `key`, or the CRC if key is NULL (a tagged message then is
 * VP_WIRE_FORGED, as is an untagged one if a key is set).
 * @return payload size; the payload begins at message + VP_WIRE_HEADER_SIZE.
 */
int vp_message_verify(const uint8_t *message, size_t size, const uint8_t *key);

/** Accepts each counter once; those more than 63 behind the highest are refused.
 *  Call it only for verified messages. @return VP_WIRE_OK or VP_WIRE_REPLAYED. */
int vp_replay_accept(vp_replay *replay, uint64_t counter);

/* Payloads. pack: @return bytes written, VP_WIRE_SPACE or VP_WIRE_VALUE. unpack: @return VP_WIRE_OK,
 * VP_WIRE_SHORT (wrong size) or VP_WIRE_VALUE. A PREDICTION has 2 bytes an entry up to 256 classes
 * and 3 above, so both ends must name the number of classes. */
int vp_hello_pack(const vp_hello *hello, uint8_t *out, size_t capacity);
int vp_hello_unpack(const uint8_t *payload, size_t size, vp_hello *hello);
int vp_input_pack(const vp_input *input, uint8_t *out, size_t capacity);
int vp_input_unpack(const uint8_t *payload, size_t size, vp_input *input);
int vp_sack_pack(const vp_sack *sack, uint8_t *out, size_t capacity);
int vp_sack_unpack(const uint8_t *payload, size_t size, vp_sack *sack);
int vp_prediction_pack(const vp_prediction *prediction, uint16_t classes, uint8_t *out,
                       size_t capacity);
int vp_prediction_unpack(const uint8_t *payload, size_t size, uint16_t classes,
                         vp_prediction *prediction);
int vp_error_pack(const vp_error *error, uint8_t *out, size_t capacity);
int vp_error_unpack(const uint8_t *payload, size_t size, vp_error *error);
int vp_fault_pack(const vp_fault *fault, uint8_t *out, size_t capacity);
int vp_fault_unpack(const uint8_t *payload, size_t size, vp_fault *fault);
int vp_trigger_pack(const vp_trigger *trigger, uint8_t *out, size_t capacity);
int vp_trigger_unpack(const uint8_t *payload, size_t size, vp_trigger *trigger);

#ifdef __cplusplus
}
#endif

#endif
