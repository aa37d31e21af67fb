#include "matmul.h"

#define VECTOR 16 /* int8 lanes */

static inline int32_t min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Depth 1 .. 16: the inputs of 4 pixels stay in registers, all channels pass by. */
#define DOT_1(q)                                \
    "vldrb.8 %q[w], [%[weights]]\n\t"           \
    "add %[weights], %[weights], %[depth]\n\t"  \
    "vmladav.s8 r0, %q[w], %q[x0]\n\t"          \
    "vmladav.s8 r2, %q[w], %q[x1]\n\t"          \
    "vmladav.s8 r4, %q[w], %q[x2]\n\t"          \
    "vmladav.s8 r6, %q[w], %q[x3]\n\t" VP_NN_MVE_COLLECT(q) VP_NN_MVE_NEXT_CHANNEL

#define PAIRS_1(KIND)                                                                             \
    __asm__ volatile(                                                                             \
        "dls lr, %[pairs]\n"                                                                      \
        "1:\n\t" DOT_1("%q[a]") VP_NN_MVE_SCALE("%q[a]", "r0", "r2", "r4", KIND) DOT_1("%q[w]")   \
            VP_NN_MVE_SCALE("%q[w]", "r0", "r2", "r4", KIND) VP_NN_MVE_NARROW_##KIND("%q[a]", "%q[w]", "%[edges]") \
        "vstrb.16 %q[a], [%[output], %q[places]]\n\t"                                             \
        "add %[output], %[output], #2\n\t"                                                        \
        "le lr, 1b"                                                                               \
        : [a] "=&w"(a), [w] "=&w"(w), [weights] "+&r"(weights), [scale] "+&r"(scale),             \
          [shift] "+&r"(shift), [output] "+&r"(output)                                            \
        : [x0] "w"(x0), [x1] "w"(x1), [x2] "w"(x2), [x3] "w"(x3), [depth] "r"(m->depth),          \
          [edges] "r"(VP_NN_MVE_EDGES_##KIND(m->output)), [places] "w"(places),                   \
          [pairs] "r"(pairs)                                                                      \
        : VP_NN_MVE_TEMPORARIES)

static void tile_1(const vp_nn_mve_matmul *m, const int8_t *const x[4], int32_t channel,
                   int32_t pairs, uint16x8_t places, int8_t *output)
{
    const mve_pred16_t lanes = vctp8q((uint32_t)m->depth);
    const int8x16_t x0 = vldrbq_z_s8(x[0], lanes);
    const int8x16_t x1 = vldrbq_z_s8(x[1], lanes);
    const int8x16_t x2 = vldrbq_z_s8(x[2], lanes);
    const int8x16_t x3 = vldrbq_z_s8(x[3], lanes);
    const int8_t *weights = m->weights + channel * m->depth;
    const int32_t *scale = m->output->scale + 2 * channel;
    const int8_t *shift = m->output->shift + channel;
    int32x4_t a;
    int8x16_t w;
    output += channel;
    if (m->output->plain) {
        PAIRS_1(PLAIN);
    } else {
        PAIRS_1(EXACT);
    }
}

static void row_1(const vp_nn_mve_matmul *m, const int8_t *x, int8_t *output)
{
    for (int32_t left = m->pixels; left > 0; left -= 4) {
        const int32_t last = min(left, 4) - 1;
        const int8_t *const tile[4] = {x, x + min(1, last) * m->step, x + min(2, last) * m->step,
                                       x + last * m->step};
        const uint16x8_t places = vp_nn_mve_places(min(left, 4), m->channels);
        tile_1(m, tile, 0, m->channels / 2, places, output);
        if (m->channels % 2) {
            tile_1(m, tile, m->channels - 2, 1, places, output);
        }
        x += 4 * m->step;
        output += 4 * m->channels;
    }
}

/* Depth above 16: 3 pixels x 2 channels of sums in registers. `a` and `b` hold those of one channel
 * each, that of the last pixel twice. */
static inline void dot_many(const int8_t *x0, const int8_t *x1, const int8_t *x2,
                            const int8_t *weights, int32_t depth, int32x4_t *a, int32x4_t *b)
{
    const int8_t *w1 = weights + depth;
    register int32_t rest __asm__("lr") = depth - VECTOR;
    __asm__ volatile("vldrb.8 %q[a], [%[w0]], #16\n\t"
                     "vldrb.8 %q[b], [%[w1]], #16\n\t"
                     "vldrb.8 q0, [%[x0]], #16\n\t"
                     "vmladav.s8 r0, %q[a], q0\n\t"
                     "vmladav.s8 r6, %q[b], q0\n\t"
                     "vldrb.8 q0, [%[x1]], #16\n\t"
                     "vmladav.s8 r2, %q[a], q0\n\t"
                     "vmladav.s8 r8, %q[b], q0\n\t"
                     "vldrb.8 q0, [%[x2]], #16\n\t"
                     "vmladav.s8 r4, %q[a], q0\n\t"
                     "vmladav.s8 r10, %q[b], q0\n\t"
                     "wlstp.8 lr, lr, 2f\n"
                     "1:\n\t"
                     "vldrb.8 %q[a], [%[w0]], #16\n\t"
                     "vldrb.8 %q[b], [%[w1]], #16\n\t"
                     "vldrb.8 q0, [%[x0]], #16\n\t"
                     "vmladava.s8 r0, %q[a], q0\n\t"
                     "vmladava.s8 r6, %q[b], q0\n\t"
                     "vldrb.8 q0, [%[x1]], #16\n\t"
                     "vmladava.s8 r2, %q[a], q0\n\t"
                     "vmladava.s8 r8, %q[b], q0\n\t"
                     "vldrb.8 q0, [%[x2]], #16\n\t"
                     "vmladava.s8 r4, %q[a], q0\n\t"
                     "vmladava.s8 r10, %q[b], q0\n\t"
                     "letp lr, 1b\n"
                     "2:\n\t"
                     "vmov %q[a][2], %q[a][0], r0, r4\n\t"
                     "vmov %q[a][3], %q[a][1], r2, r4\n\t"
                     "vmov %q[b][2], %q[b][0], r6, r10\n\t"
                     "vmov %q[b][3], %q[b][1], r8, r10"
                     : [a] "=&w"(*a), [b] "=&w"(*b), [x0] "+&r"(x0), [x1] "+&r"(x1), [x2] "+&r"(x2),
                       [w0] "+&r"(weights), [w1] "+&r"(w1), "+&r"(rest)
                     :
                     : "r0", "r2", "r4", "r6", "r8", "r10", "q0", "memory");
}

static void row_many(const vp_nn_mve_matmul *m, const int8_t *x, int8_t *output)
{
    for (int32_t left = m->pixels; left > 0; left -= 3) {
        const int32_t last = min(left, 3) - 1;
        const int8_t *x1 = x + min(1, last) * m->step;
        const int8_t *x2 = x + last * m->step;
        const uint16x8_t places = vp_nn_mve_places(min(left, 3), m->channels);
        for (int32_t channel = 0; channel < m->channels; channel += 2) {
            const int32_t first = min(channel, m->channels - 2);
            int32x4_t a;
            int32x4_t b;
            dot_many(x, x1, x2, m->weights + first * m->depth, m->depth, &a, &b);
            vp_nn_mve_store_pair(m->output, first, a, b, places, output + first);
        }
        x += 3 * m->step;
        output += 3 * m->channels;
    }
}

/* Depth 17 .. 32: as above, but the inputs stay in registers. */
static inline void dot_2(const int8x16_t x[6], const int8_t *w, int32x4_t *sums)
{
    __asm__ volatile("vldrb.8 %q[a], [%[w]]\n\t"
                     "vmladav.s8 r0, %q[a], %q[x0]\n\t"
                     "vmladav.s8 r2, %q[a], %q[x1]\n\t"
                     "vmladav.s8 r4, %q[a], %q[x2]\n\t"
                     "vldrb.8 %q[a], [%[w], #16]\n\t"
                     "vmladava.s8 r0, %q[a], %q[y0]\n\t"
                     "vmladava.s8 r2, %q[a], %q[y1]\n\t"
                     "vmladava.s8 r4, %q[a], %q[y2]\n\t"
                     "vmov %q[a][2], %q[a][0], r0, r4\n\t"
                     "vmov %q[a][3], %q[a][1], r2, r4"
                     : [a] "=&w"(*sums)
                     : [x0] "w"(x[0]), [x1] "w"(x[1]), [x2] "w"(x[2]), [y0] "w"(x[3]),
                       [y1] "w"(x[4]), [y2] "w"(x[5]), [w] "r"(w)
                     : "r0", "r2", "r4", "memory");
}

static void row_2(const vp_nn_mve_matmul *m, const int8_t *x, int8_t *output)
{
    const mve_pred16_t lanes = vctp8q((uint32_t)(m->depth - VECTOR));
    for (int32_t left = m->pixels; left > 0; left -= 3) {
        const int32_t last = min(left, 3) - 1;
        const int8_t *x1 = x + min(1, last) * m->step;
        const int8_t *x2 = x + last * m->step;
        const int8x16_t tile[6] = {vldrbq_s8(x),
                                   vldrbq_s8(x1),
                                   vldrbq_s8(x2),
                                   vldrbq_z_s8(x + VECTOR, lanes),
                                   vldrbq_z_s8(x1 + VECTOR, lanes),
                                   vldrbq_z_s8(x2 + VECTOR, lanes)};
        const uint16x8_t places = vp_nn_mve_places(min(left, 3), m->channels);
        for (int32_t channel = 0; channel < m->channels; channel += 2) {
            const int32_t first = min(channel, m->channels - 2);
            const int8_t *w = m->weights + first * m->depth;
            int32x4_t a;
            int32x4_t b;
            dot_2(tile, w, &a);
            dot_2(tile, w + m->depth, &b);
            vp_nn_mve_store_pair(m->output, first, a, b, places, output + first);
        }
        x += 3 * m->step;
        output += 3 * m->channels;
    }
}

void vp_nn_mve_matmul_row(const vp_nn_mve_matmul *m, const int8_t *x, int8_t *output)
{
    if (m->depth <= VECTOR) {
        row_1(m, x, output);
    } else if (m->depth <= 2 * VECTOR) {
        row_2(m, x, output);
    } else {
        row_many(m, x, output);
    }
}
