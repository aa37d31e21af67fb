#include <string.h>

#include "bytes.h"
#include "vp/wire.h"

#define TYPE_MASK 15u
#define AUTHENTICATED_BIT 16u
#define VERSION_SHIFT 5
#define COUNTER_LIMIT ((uint64_t)1 << 40)

static int type_ok(uint8_t type)
{
    return type >= VP_HELLO && type <= VP_TRIGGER;
}

static size_t trailer_size(int authenticated)
{
    return authenticated ? VP_WIRE_TAG_SIZE : VP_WIRE_CRC_SIZE;
}

int vp_message_seal(const vp_wire_header *header, const uint8_t *payload, size_t payload_size,
                    const uint8_t *key, uint8_t *out, size_t capacity)
{
    const size_t trailer = trailer_size(key != NULL);
    if (!type_ok(header->type) || header->counter >= COUNTER_LIMIT ||
        payload_size > VP_WIRE_MAX_MESSAGE - VP_WIRE_HEADER_SIZE - trailer) {
        return VP_WIRE_VALUE;
    }
    const size_t body = VP_WIRE_HEADER_SIZE + payload_size;
    if (capacity < body + trailer) {
        return VP_WIRE_SPACE;
    }
    out[0] = (uint8_t)(header->type | (key != NULL ? AUTHENTICATED_BIT : 0u) |
                       (VP_WIRE_VERSION << VERSION_SHIFT));
    out[1] = header->fleet;
    vp_put16(out + 2, header->node);
    vp_put32(out + 4, (uint32_t)(header->counter & 0xffffffffu));
    out[8] = (uint8_t)(header->counter >> 32);
    if (payload_size > 0u) {
        memmove(out + VP_WIRE_HEADER_SIZE, payload, payload_size);
    }
    if (key != NULL) {
        vp_blake2s_tag(key, out, body, out + body);
    } else {
        vp_put32(out + body, vp_crc32c(0, out, body));
    }
    return (int)(body + trailer);
}

int vp_message_peek(const uint8_t *message, size_t size, vp_wire_header *header)
{
    if (size < VP_WIRE_HEADER_SIZE || size > VP_WIRE_MAX_MESSAGE) {
        return VP_WIRE_SHORT;
    }
    if (message[0] >> VERSION_SHIFT != VP_WIRE_VERSION) {
        return VP_WIRE_VERSION_BAD;
    }
    header->type = (uint8_t)(message[0] & TYPE_MASK);
    if (!type_ok(header->type)) {
        return VP_WIRE_TYPE_BAD;
    }
    header->authenticated = (message[0] & AUTHENTICATED_BIT) != 0u;
    if (size < VP_WIRE_HEADER_SIZE + trailer_size(header->authenticated)) {
        return VP_WIRE_SHORT;
    }
    header->fleet = message[1];
    header->node = vp_get16(message + 2);
    header->counter = vp_get32(message + 4) | ((uint64_t)message[8] << 32);
    return VP_WIRE_OK;
}

/* Takes the same time wherever the first difference stands. */
static int tag_equal(const uint8_t *a, const uint8_t *b)
{
    uint8_t difference = 0;
    for (size_t i = 0; i < VP_WIRE_TAG_SIZE; i++) {
        difference = (uint8_t)(difference | (a[i] ^ b[i]));
    }
    return difference == 0u;
}

int vp_message_verify(const uint8_t *message, size_t size, const uint8_t *key)
{
    vp_wire_header header;
    const int error = vp_message_peek(message, size, &header);
    if (error != VP_WIRE_OK) {
        return error;
    }
    if ((key != NULL) != (header.authenticated != 0u)) {
        return VP_WIRE_FORGED;
    }
    const size_t body = size - trailer_size(header.authenticated);
    if (key != NULL) {
        uint8_t tag[VP_WIRE_TAG_SIZE];
        vp_blake2s_tag(key, message, body, tag);
        if (!tag_equal(tag, message + body)) {
            return VP_WIRE_FORGED;
        }
    } else if (vp_get32(message + body) != vp_crc32c(0, message, body)) {
        return VP_WIRE_DAMAGED;
    }
    return (int)(body - VP_WIRE_HEADER_SIZE);
}
