#include <string.h>

#include "bytes.h"
#include "vp/wire.h"

#define BLOCK_SIZE 64u
#define ROUNDS 10u

static const uint32_t initial[8] = {
    0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
    0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u,
};

/* RFC 7693, section 2.7. */
static const uint8_t sigma[ROUNDS][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

/* Which words of the state the eight mixings of a round work on: four columns, four diagonals. */
static const uint8_t lanes[8][4] = {
    {0, 4, 8, 12}, {1, 5, 9, 13}, {2, 6, 10, 14}, {3, 7, 11, 15},
    {0, 5, 10, 15}, {1, 6, 11, 12}, {2, 7, 8, 13}, {3, 4, 9, 14},
};

static uint32_t rotate_right(uint32_t value, unsigned bits)
{
    return (value >> bits) | (value << (32u - bits));
}

static void mix(uint32_t v[16], const uint8_t lane[4], uint32_t x, uint32_t y)
{
    uint32_t a = v[lane[0]];
    uint32_t b = v[lane[1]];
    uint32_t c = v[lane[2]];
    uint32_t d = v[lane[3]];
    a += b + x;
    d = rotate_right(d ^ a, 16);
    c += d;
    b = rotate_right(b ^ c, 12);
    a += b + y;
    d = rotate_right(d ^ a, 8);
    c += d;
    b = rotate_right(b ^ c, 7);
    v[lane[0]] = a;
    v[lane[1]] = b;
    v[lane[2]] = c;
    v[lane[3]] = d;
}

/* `end`: bytes hashed so far, this block included (messages here are far below 4 GB). */
static void compress(uint32_t hash[8], const uint8_t block[BLOCK_SIZE], uint32_t end, int last)
{
    uint32_t words[16];
    uint32_t v[16];
    for (unsigned i = 0; i < 16u; i++) {
        words[i] = vp_get32(block + 4u * i);
    }
    for (unsigned i = 0; i < 8u; i++) {
        v[i] = hash[i];
        v[8u + i] = initial[i];
    }
    v[12] ^= end;
    if (last) {
        v[14] = ~v[14];
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < 8u; i++) {
            mix(v, lanes[i], words[sigma[round][2u * i]], words[sigma[round][2u * i + 1u]]);
        }
    }
    for (unsigned i = 0; i < 8u; i++) {
        hash[i] ^= v[i] ^ v[8u + i];
    }
}

static void take_key(uint32_t hash[8], const uint8_t key[VP_WIRE_KEY_SIZE], int last)
{
    uint8_t block[BLOCK_SIZE] = {0};
    memcpy(hash, initial, sizeof(initial));
    hash[0] ^= 0x01010000u ^ ((uint32_t)VP_WIRE_KEY_SIZE << 8) ^ VP_WIRE_TAG_SIZE;
    memcpy(block, key, VP_WIRE_KEY_SIZE);
    compress(hash, block, BLOCK_SIZE, last);
}

static void take_data(uint32_t hash[8], const uint8_t *data, size_t size)
{
    uint8_t block[BLOCK_SIZE] = {0};
    uint32_t end = BLOCK_SIZE;
    while (size > BLOCK_SIZE) {
        end += BLOCK_SIZE;
        compress(hash, data, end, 0);
        data += BLOCK_SIZE;
        size -= BLOCK_SIZE;
    }
    memcpy(block, data, size);
    compress(hash, block, end + (uint32_t)size, 1);
}

void vp_blake2s_begin(const uint8_t key[VP_WIRE_KEY_SIZE], vp_blake2s *keyed)
{
    take_key(keyed->hash, key, 0);
}

void vp_blake2s_finish(const vp_blake2s *keyed, const uint8_t *data, size_t size,
                       uint8_t tag[VP_WIRE_TAG_SIZE])
{
    uint32_t hash[8];
    memcpy(hash, keyed->hash, sizeof(hash));
    take_data(hash, data, size);
    vp_put32(tag, hash[0]);
    vp_put32(tag + 4, hash[1]);
}

void vp_blake2s_tag(const uint8_t key[VP_WIRE_KEY_SIZE], const uint8_t *data, size_t size,
                    uint8_t tag[VP_WIRE_TAG_SIZE])
{
    uint32_t hash[8];
    take_key(hash, key, size == 0u);
    if (size > 0u) {
        take_data(hash, data, size);
    }
    vp_put32(tag, hash[0]);
    vp_put32(tag + 4, hash[1]);
}
