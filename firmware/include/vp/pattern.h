/**
 * @file vp/pattern.h
 * A picture that a node and a request determine: what nodes capture that have no sensor, and what the
 * host expects of them.
 *
 * A slope whose direction and phase the request and the node choose, folded into 0 .. 127, and on it
 * squares of 4 x 4 pixels, each with a random brightness of 0 .. 127 in every channel:
 *
 *     seed   = mix(request << 16 | node)
 *     slope  = ((seed & 7) + 1) column + ((seed >> 3 & 7) + 1) row + (seed >> 6 & 255) + 64 channel
 *     fold   = slope & 128 ? 127 - (slope & 127) : slope & 127
 *     square = mix(seed ^ (row / 4 << 18 | column / 4 << 8 | channel)) & 127
 *     pixel  = fold + square
 *
 * all in 32 bits without sign, where mix(x) is: x ^= x >> 16; x *= 0x7feb352d; x ^= x >> 15;
 * x *= 0x846ca68b; x ^= x >> 16.
 */
#ifndef VP_PATTERN_H
#define VP_PATTERN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Writes row `row` of the picture: width x channels bytes, channels interleaved. */
void vp_pattern_row(uint16_t node, uint16_t request, uint32_t row, uint32_t width, uint32_t channels,
                    uint8_t *out);

#ifdef __cplusplus
}
#endif

#endif
