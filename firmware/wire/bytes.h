/**
 * @file bytes.h
 * Little-endian numbers in byte buffers, for the files of this folder.
 */
#ifndef VP_WIRE_BYTES_H
#define VP_WIRE_BYTES_H

#include <stdint.h>

static inline uint16_t vp_get16(const uint8_t *from)
{
    return (uint16_t)(from[0] | (uint16_t)(from[1] << 8));
}

static inline uint32_t vp_get32(const uint8_t *from)
{
    return (uint32_t)vp_get16(from) | ((uint32_t)vp_get16(from + 2) << 16);
}

static inline void vp_put16(uint8_t *to, uint16_t value)
{
    to[0] = (uint8_t)(value & 255u);
    to[1] = (uint8_t)(value >> 8);
}

static inline void vp_put32(uint8_t *to, uint32_t value)
{
    vp_put16(to, (uint16_t)(value & 65535u));
    vp_put16(to + 2, (uint16_t)(value >> 16));
}

#endif
