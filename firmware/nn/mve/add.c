#include "output.h"

/* Bits by which the operands grow before they are scaled, as in TFLM's kernels/add_common.cc. */
#define LEFT_SHIFT 20

/* To nearest, ties away from zero; shift 0 .. -31. */
static inline int32x4_t shift_right(int32x4_t x, int32_t shift)
{
    if (shift == 0) {
        return x;
    }
    return vrshlq_n_s32(vaddq_s32(x, vshrq_n_s32(x, 31)), shift);
}

static inline int32x4_t add_4(const vp_nn_mve_add *p, int32x4_t a, int32x4_t b)
{
    const int32x4_t one = vdupq_n_s32(1 << LEFT_SHIFT);
    const int32x4_t half = vdupq_n_s32(1 << (LEFT_SHIFT - 1));
    a = vmlasq_n_s32(a, one, -p->a_zero_point * (1 << LEFT_SHIFT));
    a = shift_right(vqrdmulhq_n_s32(a, p->a_multiplier), p->a_shift);
    b = vmlasq_n_s32(b, half, -p->b_zero_point * (1 << (LEFT_SHIFT - 1)));
    return shift_right(vqrdmulhq_n_s32(vaddq_s32(a, b), p->multiplier), p->shift);
}

void vp_nn_mve_add_row(const vp_nn_mve_add *p, int32_t row, const vp_nn_rows *a,
                       const vp_nn_rows *b, int8_t *output)
{
    const int8_t *from_a = vp_nn_row(a, row);
    const int8_t *from_b = vp_nn_row(b, row);
    const int32x4_t min = vdupq_n_s32(p->min);
    const int32x4_t max = vdupq_n_s32(p->max);
    for (int32_t left = p->row_size; left > 0; left -= 4) {
        const mve_pred16_t lanes = vctp32q((uint32_t)left);
        int32x4_t x = add_4(p, vldrbq_z_s32(from_a, lanes), vldrbq_z_s32(from_b, lanes));
        x = vmaxq_s32(vminq_s32(vaddq_n_s32(x, p->zero_point), max), min);
        vstrbq_p_s32(output, x, lanes);
        from_a += 4;
        from_b += 4;
        output += 4;
    }
}
