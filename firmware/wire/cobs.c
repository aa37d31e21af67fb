#include "vp/wire.h"

/* Consistent Overhead Byte Stuffing (Cheshire and Baker, 1999). A block is a code byte n and n - 1
 * bytes that are not zero; it stands for those bytes and, if n < 255 and it is not the last block,
 * a zero. */
#define LONGEST_BLOCK 255u

int vp_cobs_encode(const uint8_t *data, size_t size, uint8_t *out, size_t capacity)
{
    size_t code_at = 0;
    size_t written = 1;
    uint8_t code = 1;

    if (capacity < 1u) {
        return VP_WIRE_SPACE;
    }
    for (size_t i = 0; i < size; i++) {
        if (data[i] != 0u) {
            if (written >= capacity) {
                return VP_WIRE_SPACE;
            }
            out[written++] = data[i];
            code++;
        }
        if (data[i] == 0u || (code == LONGEST_BLOCK && i + 1u < size)) {
            if (written >= capacity) {
                return VP_WIRE_SPACE;
            }
            out[code_at] = code;
            code_at = written++;
            code = 1;
        }
    }
    out[code_at] = code;
    return (int)written;
}

int vp_cobs_decode(const uint8_t *frame, size_t size, uint8_t *out, size_t capacity)
{
    size_t written = 0;
    size_t at = 0;

    if (size == 0u) {
        return VP_WIRE_DAMAGED;
    }
    while (at < size) {
        const uint8_t code = frame[at++];
        if (code == 0u || (size_t)(code - 1u) > size - at) {
            return VP_WIRE_DAMAGED;
        }
        for (uint8_t i = 1; i < code; i++) {
            if (frame[at] == 0u) {
                return VP_WIRE_DAMAGED;
            }
            if (written >= capacity) {
                return VP_WIRE_SPACE;
            }
            out[written++] = frame[at++];
        }
        if (code < LONGEST_BLOCK && at < size) {
            if (written >= capacity) {
                return VP_WIRE_SPACE;
            }
            out[written++] = 0;
        }
    }
    return (int)written;
}
