#include "fixed_point.h"

/* Fixed-point formats: Qm.n has m integer bits and n = 31 - m fractional ones. The polynomial, the
 * table of exponentials and the Newton iteration are gemmlowp's (fixedpoint.h). */
#define DISTANCE_FRACTION_BITS 26 /* Q5.26, distances from the best score */
#define SUM_INTEGER_BITS 12       /* Q12.19, sums of exponentials */

static int32_t shift_left_saturating(int32_t x, int32_t bits)
{
    const int32_t threshold = (int32_t)((UINT32_C(1) << (31 - bits)) - 1u);
    if (x > threshold) {
        return INT32_MAX;
    }
    return x < -threshold ? INT32_MIN : vp_nn_shift_left(x, bits);
}

/* exp(x) in Q0.31 for -1/4 <= x < 0 in Q0.31: Taylor's series about -1/8. */
static int32_t exp_small(int32_t x)
{
    const int32_t exp_minus_eighth = 1895147668;
    const int32_t third = 715827883;
    const int32_t x1 = x + (1 << 28);
    const int32_t x2 = vp_nn_high_product(x1, x1);
    const int32_t x3 = vp_nn_high_product(x2, x1);
    const int32_t x4 = vp_nn_high_product(x2, x2);
    const int32_t cubic = vp_nn_high_product(vp_nn_shift_right(x4, 2) + x3, third) + x2;
    return exp_minus_eighth +
           vp_nn_high_product(exp_minus_eighth, x1 + vp_nn_shift_right(cubic, 1));
}

/* exp(x) in Q0.31 for x <= 0 in Q5.26. */
static int32_t exp_negative(int32_t x)
{
    /* exp(-2^(i - 2)) in Q0.31 */
    static const int32_t powers[7] = {1672461947, 1302514674, 790015084, 290630308,
                                      39332535,   720401,     242};
    const int32_t quarter = 1 << (DISTANCE_FRACTION_BITS - 2);
    if (x == 0) {
        return INT32_MAX;
    }
    const int32_t small = (x & (quarter - 1)) - quarter;
    const int32_t quarters = small - x;
    int32_t result = exp_small(vp_nn_shift_left(small, 5));
    for (int32_t i = 0; i < 7; i++) {
        if (quarters & (quarter << i)) {
            result = vp_nn_high_product(result, powers[i]);
        }
    }
    return result;
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

static int32_t exp_of_score(const vp_nn_softmax *p, int32_t distance)
{
    return exp_negative(vp_nn_high_product(vp_nn_shift_left(distance, p->shift), p->multiplier));
}

static void run_row(const vp_nn_softmax *p, const int8_t *input, int8_t *output)
{
    int32_t best = INT8_MIN;
    for (int32_t c = 0; c < p->classes; c++) {
        best = input[c] > best ? input[c] : best;
    }
    int32_t sum = 0;
    for (int32_t c = 0; c < p->classes; c++) {
        const int32_t distance = input[c] - best;
        if (distance >= p->min_distance) {
            sum += vp_nn_shift_right(exp_of_score(p, distance), SUM_INTEGER_BITS);
        }
    }

    /* The best score alone contributes 2^19, so 1 <= zeros <= 12. */
    const int32_t zeros = leading_zeros((uint32_t)sum);
    const int32_t fraction = (int32_t)(((uint32_t)sum << zeros) - UINT32_C(0x80000000));
    const int32_t reciprocal = reciprocal_of_one_plus(fraction);
    const int32_t exponent = SUM_INTEGER_BITS - zeros + 31 - 8;

    for (int32_t c = 0; c < p->classes; c++) {
        const int32_t distance = input[c] - best;
        int32_t score = INT8_MIN;
        /* With an exponent above 31 every score is below half a step. TFLM stops the program there. */
        if (distance >= p->min_distance && exponent <= 31) {
            const int32_t share = vp_nn_high_product(reciprocal, exp_of_score(p, distance));
            score += vp_nn_shift_right(share, exponent);
        }
        output[c] = (int8_t)vp_nn_clamp(score, INT8_MIN, INT8_MAX);
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
