#include "output.h"

/* Bits by which the operands grow before they are scaled, as in TFLM's kernels/add_common.cc. */
#define LEFT_SHIFT 20

/* The sign of x, -1 or 0: ties go away from zero, but VRSHL rounds them up, so 1 is taken from
 * negative numbers first, where there is something to round. */
#define SIGN "vshr.s32 %q[t], %q[x], #31\n\t"

void vp_nn_mve_add_row(const vp_nn_mve_add *p, int32_t row, const vp_nn_rows *a,
                       const vp_nn_rows *b, int8_t *output)
{
    const int8_t *from_a = vp_nn_row(a, row);
    const int8_t *from_b = vp_nn_row(b, row);
    const int32x4_t one = vdupq_n_s32(1 << LEFT_SHIFT);
    const int32x4_t half = vdupq_n_s32(1 << (LEFT_SHIFT - 1));
    register int32_t left __asm__("lr") = p->row_size;
    int32x4_t x;
    int32x4_t y;
    int32x4_t t;
    __asm__ volatile(
        "wlstp.32 lr, lr, 2f\n"
        "1:\n\t"
        "vldrb.s32 %q[x], [%[from_a]], #4\n\t"
        "vldrb.s32 %q[y], [%[from_b]], #4\n\t"
        "vmlas.s32 %q[x], %q[one], %[offset_a]\n\t"
        "vmlas.s32 %q[y], %q[half], %[offset_b]\n\t"
        "vqrdmulh.s32 %q[x], %q[x], %[multiplier_a]\n\t" SIGN
        "vmla.s32 %q[x], %q[t], %[rounds_a]\n\t"
        "vrshl.s32 %q[x], %[shift_a]\n\t"
        "vadd.i32 %q[x], %q[x], %q[y]\n\t"
        "vqrdmulh.s32 %q[x], %q[x], %[multiplier]\n\t" SIGN
        "vadd.i32 %q[x], %q[x], %q[t]\n\t"
        "vrshl.s32 %q[x], %[shift]\n\t"
        "vadd.i32 %q[x], %q[x], %[zero_point]\n\t"
        "vmax.s32 %q[x], %q[x], %q[min]\n\t"
        "vmin.s32 %q[x], %q[x], %q[max]\n\t"
        "vstrb.32 %q[x], [%[output]], #4\n\t"
        "letp lr, 1b\n"
        "2:"
        : [x] "=&w"(x), [y] "=&w"(y), [t] "=&w"(t), [from_a] "+&l"(from_a),
          [from_b] "+&l"(from_b), [output] "+&l"(output), "+&r"(left)
        : [one] "w"(one), [half] "w"(half), [min] "w"(vdupq_n_s32(p->min)),
          [max] "w"(vdupq_n_s32(p->max)), [offset_a] "r"(-p->a_zero_point * (1 << LEFT_SHIFT)),
          [offset_b] "r"(-p->b_zero_point * (1 << (LEFT_SHIFT - 1))),
          [multiplier_a] "r"(p->a_multiplier), [shift_a] "r"(p->a_shift),
          [rounds_a] "r"(p->a_shift != 0), [multiplier] "r"(p->multiplier),
          [shift] "r"(p->shift), [zero_point] "r"(p->zero_point)
        : "memory");
}
