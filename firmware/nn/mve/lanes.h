/** Channels of neighbouring pixels, summed up or compared lane by lane. */
#ifndef VP_NN_MVE_LANES_H
#define VP_NN_MVE_LANES_H

#include "vp/nn_mve.h"

#include <arm_mve.h>

/** `largest`, or what is larger among the first 16 channels, or as many as `lanes` has, of `count`
 * pixels, at least 1, `step` bytes apart. */
static inline int8x16_t vp_nn_mve_max(const int8_t *pixel, int32_t count, int32_t step,
                                      mve_pred16_t lanes, int8x16_t largest)
{
    int8x16_t x;
    __asm__ volatile("vmsr p0, %[lanes]\n\t"
                     "dls lr, %[count]\n"
                     "1:\n\t"
                     "vpst\n\t"
                     "vldrbt.8 %q[x], [%[pixel]]\n\t"
                     "vmax.s8 %q[largest], %q[largest], %q[x]\n\t"
                     "add %[pixel], %[pixel], %[step]\n\t"
                     "le lr, 1b"
                     : [x] "=&w"(x), [largest] "+&w"(largest), [pixel] "+&r"(pixel)
                     : [count] "r"(count), [step] "r"(step), [lanes] "r"(lanes)
                     : "lr", "p0", "memory");
    return largest;
}

/** `sums` and those of the first 4 channels, or as many as `lanes` has, of `count` pixels, at least
 * 1, `step` bytes apart. */
static inline int32x4_t vp_nn_mve_sum(const int8_t *pixel, int32_t count, int32_t step,
                                      mve_pred16_t lanes, int32x4_t sums)
{
    int32x4_t x;
    __asm__ volatile("vmsr p0, %[lanes]\n\t"
                     "dls lr, %[count]\n"
                     "1:\n\t"
                     "vpst\n\t"
                     "vldrbt.s32 %q[x], [%[pixel]]\n\t"
                     "vadd.i32 %q[sums], %q[sums], %q[x]\n\t"
                     "add %[pixel], %[pixel], %[step]\n\t"
                     "le lr, 1b"
                     : [x] "=&w"(x), [sums] "+&w"(sums), [pixel] "+&l"(pixel)
                     : [count] "r"(count), [step] "r"(step), [lanes] "r"(lanes)
                     : "lr", "p0", "memory");
    return sums;
}

#endif
