#include "fixed_point.h"

/* Fixed-point formats: Qm.n has m integer bits and n = 31 - m fractional ones. The Newton iteration is
 * gemmlowp's (fixedpoint.h). */
#define SUM_INTEGER_BITS 12 /* Q12.19, sums of exponentials */

/* x / 2^bits, to nearest, ties up; x below 2^31, bits 1 .. 31. */
static uint32_t shift_right(uint32_t x, int32_t bits)
{
    return (x + (UINT32_C(1) << (bits - 1))) >> bits;
}

static int32_t shift_left_saturating(int32_t x, int32_t bits)
{
    const int32_t threshold = (int32_t)((UINT32_C(1) << (31 - bits)) - 1u);
    if (x > threshold) {
        return INT32_MAX;
    }
    return x < -threshold ? INT32_MIN : vp_nn_shift_left(x, bits);
}

/* 1 / (1 + x) in Q0.31 for 0 <= x < 1 in Q0.31: Newton's iteration for the reciprocal of
 * d = (1 + x) / 2 in Q2.29. */
static int32_t reciprocal_of_one_plus(int32_t x)
{
    const int32_t forty_eight_over_17 = 1515870810;
    const int32_t minus_32_over_17 = -1010580540;
    const int32_t one = 1 << 29;
    const int32_t d = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t r = forty_eight_over_17 + vp_nn_high_product(d, minus_32_over_17);
    for (int32_t i = 0; i < 3; i++) {
        const int32_t error = one - vp_nn_high_product(d, r);
        r += shift_left_saturating(vp_nn_high_product(r, error), 2);
    }
    return shift_left_saturating(r, 1);
}

static int32_t leading_zeros(uint32_t x)
{
    int32_t count = 0;
    while (!(x & UINT32_C(0x80000000))) {
        x <<= 1;
        count++;
    }
    return count;
}

static void run_row(const vp_nn_softmax *p, const int8_t *input, int8_t *output)
{
    const int32_t *exponentials = p->exponentials;
    const int8_t *end = input + p->classes;
    int32_t distances = p->distances;
    int32_t best = INT8_MIN;
    for (const int8_t *at = input; at < end; at++) {
        best = *at > best ? *at : best;
    }
    uint32_t sum = 0;
    for (const int8_t *at = input; at < end; at++) {
        const int32_t distance = best - *at;
        if (distance < distances) {
            sum += shift_right((uint32_t)exponentials[distance], SUM_INTEGER_BITS);
        }
    }

    /* The best score alone contributes 2^19, so 1 <= zeros <= 12. */
    const int32_t zeros = leading_zeros(sum);
    const int32_t reciprocal = reciprocal_of_one_plus((int32_t)((sum << zeros) - UINT32_C(0x80000000)));
    int32_t exponent = SUM_INTEGER_BITS - zeros + 31 - 8;
    if (exponent > 31) {
        /* Every score is below half a step. TFLM stops the program there. */
        exponent = 31;
        distances = 0;
    }
    for (const int8_t *at = input; at < end; at++) {
        const int32_t distance = best - *at;
        uint32_t share = 0;
        if (distance < distances) {
            share = (uint32_t)vp_nn_high_product(reciprocal, exponentials[distance]);
            share = shift_right(share, exponent);
        }
        *output++ = (int8_t)((int32_t)(share < 255u ? share : 255u) + INT8_MIN);
    }
}

void vp_nn_softmax_run(const vp_nn_softmax *p, const int8_t *input, int8_t *output)
{
    for (int32_t row = 0; row < p->rows; row++) {
        run_row(p, input, output);
        input += p->classes;
        output += p->classes;
    }
}
