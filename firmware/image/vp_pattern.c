#include "vp/pattern.h"

#define SQUARE 4u /* Pixels along a side. */

static uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

void vp_pattern_row(uint16_t node, uint16_t request, uint32_t row, uint32_t width, uint32_t channels,
                    uint8_t *out)
{
    const uint32_t seed = mix((uint32_t)request << 16 | node);
    const uint32_t across = (seed & 7u) + 1u;
    const uint32_t start = ((seed >> 3 & 7u) + 1u) * row + (seed >> 6 & 255u);
    for (uint32_t column = 0; column < width; column++) {
        for (uint32_t channel = 0; channel < channels; channel++) {
            const uint32_t slope = start + across * column + 64u * channel;
            const uint32_t fold = (slope & 128u) != 0u ? 127u - (slope & 127u) : slope & 127u;
            const uint32_t place = row / SQUARE << 18 | column / SQUARE << 8 | channel;
            *out++ = (uint8_t)(fold + (mix(seed ^ place) & 127u));
        }
    }
}
