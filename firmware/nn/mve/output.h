/**
 * Accumulators become int8: assembly that the kernels put into their loops, because the compiler's
 * own order of the same instructions spills most of their registers.
 *
 * A tile is 2 channels x 4 pixels: one vector of 4 pixels for each channel. The sums of a channel
 * arrive in r0, r2, r4 and r6, the even registers that VMLADAV may write to, and these serve as
 * temporaries afterwards.
 */
#ifndef VP_NN_MVE_OUTPUT_H
#define VP_NN_MVE_OUTPUT_H

#include "optimize.h"
#include "vp/nn_mve.h"

#include <arm_mve.h>

/** The sums of 4 pixels go to vector q. */
#define VP_NN_MVE_COLLECT(q)                   \
    "vmov " q "[2], " q "[0], r0, r4\n\t"      \
    "vmov " q "[3], " q "[1], r2, r6\n\t"

/** The sums of 3 pixels, the last one twice. */
#define VP_NN_MVE_COLLECT_3(q, sum0, sum1, sum2)                 \
    "vmov " q "[2], " q "[0], " sum0 ", " sum2 "\n\t"            \
    "vmov " q "[3], " q "[1], " sum1 ", " sum2 "\n\t"

/** r0, r2, r4 = bias, multiplier and shift of the next channel. */
#define VP_NN_MVE_NEXT_CHANNEL                 \
    "ldrd r0, r2, [%[scale]], #8\n\t"          \
    "ldrsb r4, [%[shift]], #1\n\t"

/* VRSHL rounds ties up. That is right where negative results are cut off; elsewhere ties of
 * negative numbers must go down, so 1 is taken from these first, unless the shift is 0. */
#define VP_NN_MVE_SHIFT_RELU(q, shift) "vrshl.s32 " q ", " shift "\n\t"
#define VP_NN_MVE_SHIFT_LINEAR(q, shift)       \
    "asr r6, " shift ", #31\n\t"               \
    "vpt.s32 lt, " q ", zr\n\t"                \
    "vaddt.i32 " q ", " q ", r6\n\t"           \
    "vrshl.s32 " q ", " shift "\n\t"
#define VP_NN_MVE_SHIFT_CLAMPED(q, shift) VP_NN_MVE_SHIFT_LINEAR(q, shift)

/** Scales vector q; KIND: RELU, LINEAR or CLAMPED. */
#define VP_NN_MVE_SCALE(q, bias, multiplier, shift, KIND) \
    "vadd.i32 " q ", " q ", " bias "\n\t"                 \
    "vqrdmulh.s32 " q ", " q ", " multiplier "\n\t"       \
    VP_NN_MVE_SHIFT_##KIND(q, shift)

/** Scaled vectors a and b become 8 numbers in a: those of one pixel next to each other. Register
 * `edges` holds VP_NN_MVE_EDGES_<KIND> of the vp_nn_mve_output. */
#define VP_NN_MVE_NARROW_RELU(a, b, edges)     \
    "vqmovnb.s32 " a ", " a "\n\t"             \
    "vqmovnt.s32 " a ", " b "\n\t"             \
    "vqadd.s16 " a ", " a ", " edges "\n\t"    \
    "vqmovnb.s16 " a ", " a "\n\t"
#define VP_NN_MVE_NARROW_LINEAR(a, b, edges) VP_NN_MVE_NARROW_RELU(a, b, edges)
#define VP_NN_MVE_NARROW_CLAMPED(a, b, edges)  \
    "vqmovnb.s32 " a ", " a "\n\t"             \
    "vqmovnt.s32 " a ", " b "\n\t"             \
    "ldm " edges ", {r0, r2, r4}\n\t"          \
    "vqadd.s16 " a ", " a ", r0\n\t"           \
    "vdup.16 " b ", r2\n\t"                    \
    "vmax.s16 " a ", " a ", " b "\n\t"         \
    "vdup.16 " b ", r4\n\t"                    \
    "vmin.s16 " a ", " a ", " b "\n\t"
#define VP_NN_MVE_EDGES_RELU(p) ((uintptr_t)(p)->zero_point)
#define VP_NN_MVE_EDGES_LINEAR(p) ((uintptr_t)(p)->zero_point)
#define VP_NN_MVE_EDGES_CLAMPED(p) ((uintptr_t)&(p)->zero_point)

static inline uintptr_t vp_nn_mve_edges(const vp_nn_mve_output *p)
{
    return p->kind == VP_NN_MVE_CLAMPED ? VP_NN_MVE_EDGES_CLAMPED(p) : VP_NN_MVE_EDGES_LINEAR(p);
}

/** ASSEMBLY(KIND) for the kind of an output. */
#define VP_NN_MVE_FOR_KIND(kind, ASSEMBLY)     \
    do {                                       \
        if ((kind) == VP_NN_MVE_RELU) {        \
            ASSEMBLY(RELU);                    \
        } else if ((kind) == VP_NN_MVE_LINEAR) { \
            ASSEMBLY(LINEAR);                  \
        } else {                               \
            ASSEMBLY(CLAMPED);                 \
        }                                      \
    } while (0)

#define VP_NN_MVE_TEMPORARIES "r0", "r2", "r4", "r6", "p0", "memory"

/** Where the numbers of a tile go: lane 2i + j is channel j of pixel min(i, pixels - 1); `step`
 * bytes from one pixel to the next. */
static inline uint16x8_t vp_nn_mve_places(int32_t pixels, int32_t step)
{
    const uint16x8_t lanes = vidupq_n_u16(0, 1);
    const uint16x8_t last = vdupq_n_u16((uint16_t)(pixels - 1));
    const uint16x8_t pixel = vminq_u16(vshrq_n_u16(lanes, 1), last);
    return vmlaq_n_u16(vandq_u16(lanes, vdupq_n_u16(1)), pixel, (uint16_t)step);
}

#endif
