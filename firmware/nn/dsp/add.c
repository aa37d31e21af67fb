#include <string.h>

#include "vp/nn_dsp.h"

enum { FRACTION_BITS = 21 };

/* sum + (factor * the lower half of `pair` >> 16) */
static inline int32_t add_lower(int32_t factor, uint32_t pair, int32_t sum)
{
    __asm__("smlawb %0, %1, %2, %0" : "+r"(sum) : "r"(factor), "r"(pair));
    return sum;
}

static inline int32_t add_upper(int32_t factor, uint32_t pair, int32_t sum)
{
    __asm__("smlawt %0, %1, %2, %0" : "+r"(sum) : "r"(factor), "r"(pair));
    return sum;
}

static inline int8_t saturated(int32_t sum)
{
    int32_t result;
    __asm__("ssat %0, #8, %1, asr %2" : "=r"(result) : "r"(sum), "i"(FRACTION_BITS));
    return (int8_t)result;
}

/* Bytes in the upper halves of two int16 are those bytes times 256. */
static void add_words(const vp_nn_dsp_add *p, const int8_t *a, const int8_t *b, int8_t *output,
                      int32_t words)
{
    const uint32_t mask = UINT32_C(0xFF00FF00);
    const int32_t a_factor = p->a_factor;
    const int32_t b_factor = p->b_factor;
    const int32_t offset = p->offset;
    for (; words > 0; words--) {
        uint32_t word_a;
        uint32_t word_b;
        memcpy(&word_a, a, sizeof word_a);
        memcpy(&word_b, b, sizeof word_b);
        const uint32_t even_a = word_a << 8 & mask;
        const uint32_t even_b = word_b << 8 & mask;
        const uint32_t odd_a = word_a & mask;
        const uint32_t odd_b = word_b & mask;
        output[0] = saturated(add_lower(b_factor, even_b, add_lower(a_factor, even_a, offset)));
        output[1] = saturated(add_lower(b_factor, odd_b, add_lower(a_factor, odd_a, offset)));
        output[2] = saturated(add_upper(b_factor, even_b, add_upper(a_factor, even_a, offset)));
        output[3] = saturated(add_upper(b_factor, odd_b, add_upper(a_factor, odd_a, offset)));
        a += 4;
        b += 4;
        output += 4;
    }
}

void vp_nn_dsp_add_row(const vp_nn_dsp_add *p, int32_t row, const vp_nn_rows *a,
                       const vp_nn_rows *b, int8_t *output)
{
    const int8_t *row_a = vp_nn_row(a, row);
    const int8_t *row_b = vp_nn_row(b, row);
    const int32_t left = p->row_size & 3;
    const int32_t most = p->row_size - left;
    add_words(p, row_a, row_b, output, most >> 2);
    if (left > 0) {
        int8_t last[3][4] = {{0}};
        memcpy(last[0], row_a + most, (size_t)left);
        memcpy(last[1], row_b + most, (size_t)left);
        add_words(p, last[0], last[1], last[2], 1);
        memcpy(output + most, last[2], (size_t)left);
    }
}
