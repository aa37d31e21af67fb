#include "matmul.h"

#include <stddef.h>

#define VECTOR 16 /* int8 lanes */

static inline int32_t min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* The pixels of a tile, 3 or 4: where their inputs are from the first one's on, and where their
 * outputs go. The last one is repeated where there are fewer. */
typedef struct tile {
    int32_t offset[4];
    uint16x8_t places;
} tile;

/* A tile against the weights of `pairs` pairs of channels from channel `channel` on. */
typedef void tile_kernel(const vp_nn_mve_matmul *m, const tile *t, const int8_t *x, int32_t channel,
                         int32_t pairs, int8_t *output);

/* Depth 1 .. 16: the inputs of 4 pixels stay in registers, all channels pass by. */
#define NEXT_ANY "vldrb.8 %q[w], [%[weights]]\n\tadd %[weights], %[weights], %[depth]\n\t"
#define NEXT_8 "vldrb.8 %q[w], [%[weights]], #8\n\t"
#define NEXT_16 "vldrb.8 %q[w], [%[weights]], #16\n\t"
#define DOT_1(q, NEXT)                          \
    NEXT                                        \
    "vmladav.s8 r0, %q[w], %q[x0]\n\t"          \
    "vmladav.s8 r2, %q[w], %q[x1]\n\t"          \
    "vmladav.s8 r4, %q[w], %q[x2]\n\t"          \
    "vmladav.s8 r6, %q[w], %q[x3]\n\t" VP_NN_MVE_COLLECT(q) VP_NN_MVE_NEXT_CHANNEL

#define PAIRS_1(NEXT, KIND)                                                                       \
    __asm__ volatile(                                                                             \
        "dls lr, lr\n"                                                                          \
        "1:\n\t" DOT_1("%q[a]", NEXT) VP_NN_MVE_SCALE("%q[a]", "r0", "r2", "r4", KIND)            \
            DOT_1("%q[w]", NEXT) VP_NN_MVE_SCALE("%q[w]", "r0", "r2", "r4", KIND)                 \
                VP_NN_MVE_NARROW_##KIND("%q[a]", "%q[w]", "%[edges]")                             \
        "vstrb.16 %q[a], [%[output], %q[places]]\n\t"                                             \
        "add %[output], %[output], #2\n\t"                                                        \
        "le lr, 1b"                                                                               \
        : [a] "=&w"(a), [w] "=&w"(w), [weights] "+&r"(weights), [scale] "+&r"(scale),             \
          [shift] "+&r"(shift), [output] "+&r"(output), "+&r"(left)                               \
        : [x0] "w"(x0), [x1] "w"(x1), [x2] "w"(x2), [x3] "w"(x3), [depth] "r"(m->depth),          \
          [edges] "r"(VP_NN_MVE_EDGES_##KIND(m->output)), [places] "w"(t->places)                  \
        : VP_NN_MVE_TEMPORARIES)

#define PAIRS_1_ANY(KIND) PAIRS_1(NEXT_ANY, KIND)

VP_NN_MVE_ALONE
static void tile_1(const vp_nn_mve_matmul *m, const tile *t, const int8_t *x, int32_t channel,
                   int32_t pairs, int8_t *output)
{
    const mve_pred16_t lanes = vctp8q((uint32_t)m->depth);
    const int8x16_t x0 = vldrbq_z_s8(x, lanes);
    const int8x16_t x1 = vldrbq_z_s8(x + t->offset[1], lanes);
    const int8x16_t x2 = vldrbq_z_s8(x + t->offset[2], lanes);
    const int8x16_t x3 = vldrbq_z_s8(x + t->offset[3], lanes);
    const int8_t *weights = m->weights + channel * m->depth;
    const int32_t *scale = m->output->scale + 2 * channel;
    const int8_t *shift = m->output->shift + channel;
    register int32_t left __asm__("lr") = pairs;
    int32x4_t a;
    int8x16_t w;
    output += channel;
    if (m->depth == 8 && m->output->kind == VP_NN_MVE_RELU) {
        PAIRS_1(NEXT_8, RELU);
    } else if (m->depth == 16 && m->output->kind == VP_NN_MVE_RELU) {
        PAIRS_1(NEXT_16, RELU);
    } else {
        VP_NN_MVE_FOR_KIND(m->output->kind, PAIRS_1_ANY);
    }
}

/* Depth 17 .. 32: the same with 3 pixels of two registers each. */
#define DOT_2(q)                                \
    "vldrb.8 %q[w], [%[weights]]\n\t"           \
    "vmladav.s8 r0, %q[w], %q[x0]\n\t"          \
    "vmladav.s8 r2, %q[w], %q[x1]\n\t"          \
    "vmladav.s8 r4, %q[w], %q[x2]\n\t"          \
    "vldrb.8 %q[w], [%[weights], #16]\n\t"      \
    "add %[weights], %[weights], %[depth]\n\t"  \
    "vmladava.s8 r0, %q[w], %q[y0]\n\t"         \
    "vmladava.s8 r2, %q[w], %q[y1]\n\t"         \
    "vmladava.s8 r4, %q[w], %q[y2]\n\t" VP_NN_MVE_COLLECT_3(q, "r0", "r2", "r4") \
        VP_NN_MVE_NEXT_CHANNEL

#define PAIRS_2(KIND)                                                                             \
    __asm__ volatile(                                                                             \
        "dls lr, lr\n"                                                                          \
        "1:\n\t" DOT_2("%q[a]") VP_NN_MVE_SCALE("%q[a]", "r0", "r2", "r4", KIND)                  \
            DOT_2("%q[w]") VP_NN_MVE_SCALE("%q[w]", "r0", "r2", "r4", KIND)                       \
                VP_NN_MVE_NARROW_##KIND("%q[a]", "%q[w]", "%[edges]")                             \
        "vldrb.8 %q[w], [%[places]]\n\t"                                                          \
        "vstrb.16 %q[a], [%[output], %q[w]]\n\t"                                                  \
        "add %[output], %[output], #2\n\t"                                                        \
        "le lr, 1b"                                                                               \
        : [a] "=&w"(a), [w] "=&w"(w), [weights] "+&r"(weights), [scale] "+&r"(scale),             \
          [shift] "+&r"(shift), [output] "+&r"(output), "+&r"(left)                               \
        : [x0] "w"(x0), [x1] "w"(x1), [x2] "w"(x2), [y0] "w"(y0), [y1] "w"(y1), [y2] "w"(y2),     \
          [depth] "r"(m->depth), [edges] "r"(VP_NN_MVE_EDGES_##KIND(m->output)),                  \
          [places] "r"(&t->places)                                           \
        : VP_NN_MVE_TEMPORARIES)

VP_NN_MVE_ALONE
static void tile_2(const vp_nn_mve_matmul *m, const tile *t, const int8_t *x, int32_t channel,
                   int32_t pairs, int8_t *output)
{
    const mve_pred16_t lanes = vctp8q((uint32_t)(m->depth - VECTOR));
    const int8x16_t x0 = vldrbq_s8(x);
    const int8x16_t x1 = vldrbq_s8(x + t->offset[1]);
    const int8x16_t x2 = vldrbq_s8(x + t->offset[2]);
    const int8x16_t y0 = vldrbq_z_s8(x + VECTOR, lanes);
    const int8x16_t y1 = vldrbq_z_s8(x + VECTOR + t->offset[1], lanes);
    const int8x16_t y2 = vldrbq_z_s8(x + VECTOR + t->offset[2], lanes);
    const int8_t *weights = m->weights + channel * m->depth;
    const int32_t *scale = m->output->scale + 2 * channel;
    const int8_t *shift = m->output->shift + channel;
    register int32_t left __asm__("lr") = pairs;
    int32x4_t a;
    int8x16_t w;
    output += channel;
    VP_NN_MVE_FOR_KIND(m->output->kind, PAIRS_2);
}

/* Depth above 16: 3 pixels x 2 channels of sums in registers, which leaves none for the rest: the
 * assembly knows the place of each member. */
typedef struct loop {
    const int8_t *x[3];       /* 0 */
    const int8_t *weights[2]; /* 12: of both channels. */
    int32_t rest;             /* 20: depth - 16. */
    int32_t step;             /* 24: bytes of weights of two channels. */
    int8_t *end;              /* 28: of the outputs. */
    const int32_t *scale;     /* 32 */
    const int8_t *shift;      /* 36 */
    int8_t *output;           /* 40 */
    uintptr_t edges;          /* 44 */
    uint16_t places[8];       /* 48 */
} loop;

typedef char loop_is_as_the_assembly_has_it[offsetof(loop, places) == 48 ? 1 : -1];

/* ACC: nothing, or "a" to add to what is there. */
#define DOT_MANY(ACC)                   \
    "vldrb.8 q0, [r9], #16\n\t"         \
    "vldrb.8 q1, [r11], #16\n\t"        \
    "vldrb.8 q2, [r1], #16\n\t"         \
    "vmladav" ACC ".s8 r0, q0, q2\n\t"  \
    "vmladav" ACC ".s8 r6, q1, q2\n\t"  \
    "vldrb.8 q2, [r3], #16\n\t"         \
    "vmladav" ACC ".s8 r2, q0, q2\n\t"  \
    "vmladav" ACC ".s8 r8, q1, q2\n\t"  \
    "vldrb.8 q2, [r5], #16\n\t"         \
    "vmladav" ACC ".s8 r4, q0, q2\n\t"  \
    "vmladav" ACC ".s8 r10, q1, q2\n\t"

#define SCALE_MANY(q, KIND)             \
    "ldrd r0, r2, [r1], #8\n\t"         \
    "ldrsb r4, [r3], #1\n\t" VP_NN_MVE_SCALE(q, "r0", "r2", "r4", KIND)

#define PAIRS_MANY(KIND)                                                                         \
    __asm__ volatile(                                                                            \
        "1:\n\t"                                                                                 \
        "ldm r12, {r1, r3, r5, r9, r11}\n\t"                                                     \
        "ldr lr, [r12, #20]\n\t" DOT_MANY("")                                                    \
        "wlstp.8 lr, lr, 3f\n"                                                                   \
        "2:\n\t" DOT_MANY("a")                                                                   \
        "letp lr, 2b\n"                                                                          \
        "3:\n\t" VP_NN_MVE_COLLECT_3("q0", "r0", "r2", "r4")                                     \
            VP_NN_MVE_COLLECT_3("q1", "r6", "r8", "r10")                                         \
        "ldrd r9, r11, [r12, #12]\n\t"                                                           \
        "ldr r5, [r12, #24]\n\t"                                                                 \
        "add r9, r9, r5\n\t"                                                                     \
        "add r11, r11, r5\n\t"                                                                   \
        "strd r9, r11, [r12, #12]\n\t"                                                           \
        "ldrd r1, r3, [r12, #32]\n\t" SCALE_MANY("q0", KIND) SCALE_MANY("q1", KIND)              \
        "strd r1, r3, [r12, #32]\n\t"                                                            \
        "ldrd r1, r3, [r12, #40]\n\t" VP_NN_MVE_NARROW_##KIND("q0", "q1", "r3")                  \
        "vldrb.8 q1, [r12, #48]\n\t"                                                             \
        "vstrb.16 q0, [r1, q1]\n\t"                                                              \
        "add r1, r1, #2\n\t"                                                                     \
        "str r1, [r12, #40]\n\t"                                                                 \
        "ldr r0, [r12, #28]\n\t"                                                                 \
        "cmp r0, r1\n\t"                                                                         \
        "bne 1b"                                                                                 \
        : "+r"(at)                                                                               \
        :                                                                                        \
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "lr", "q0", "q1",  \
          "q2", "p0", "cc", "memory")

VP_NN_MVE_ALONE
static void tile_many(const vp_nn_mve_matmul *m, const tile *t, const int8_t *x, int32_t channel,
                      int32_t pairs, int8_t *output)
{
    const int8_t *weights = m->weights + channel * m->depth;
    loop l = {
        .x = {x, x + t->offset[1], x + t->offset[2]},
        .weights = {weights, weights + m->depth},
        .rest = m->depth - VECTOR,
        .step = 2 * m->depth,
        .end = output + channel + 2 * pairs,
        .scale = m->output->scale + 2 * channel,
        .shift = m->output->shift + channel,
        .output = output + channel,
        .edges = vp_nn_mve_edges(m->output),
    };
    register loop *at __asm__("r12") = &l;
    vstrhq_u16(l.places, t->places);
    VP_NN_MVE_FOR_KIND(m->output->kind, PAIRS_MANY);
}

static tile make_tile(const vp_nn_mve_matmul *m, int32_t pixels)
{
    tile t = {.places = vp_nn_mve_places(pixels, m->channels)};
    for (int32_t i = 0; i < 4; i++) {
        t.offset[i] = min(i, pixels - 1) * m->step;
    }
    return t;
}

static void run_tiles(const vp_nn_mve_matmul *m, tile_kernel *run, int32_t size, const int8_t *x,
                      int8_t *output)
{
    tile t = make_tile(m, size);
    for (int32_t left = m->pixels; left > 0; left -= size) {
        if (left < size) {
            t = make_tile(m, left);
        }
        run(m, &t, x, 0, m->channels / 2, output);
        if (m->channels % 2) {
            run(m, &t, x, m->channels - 2, 1, output);
        }
        x += size * m->step;
        output += size * m->channels;
    }
}

/* A single pixel: 4 channels at a time, at least 4. */
static int32x4_t dot_pixel(const int8_t *x, const int8_t *weights, int32_t depth)
{
    const int8_t *w1 = weights + depth;
    const int8_t *w2 = w1 + depth;
    const int8_t *w3 = w2 + depth;
    int32x4_t sums;
    __asm__ volatile("mov r0, #0\n\t"
                     "mov r2, #0\n\t"
                     "mov r4, #0\n\t"
                     "mov r6, #0\n\t"
                     "wlstp.8 lr, %[depth], 2f\n"
                     "1:\n\t"
                     "vldrb.8 q0, [%[x]], #16\n\t"
                     "vldrb.8 q1, [%[w0]], #16\n\t"
                     "vmladava.s8 r0, q0, q1\n\t"
                     "vldrb.8 q1, [%[w1]], #16\n\t"
                     "vmladava.s8 r2, q0, q1\n\t"
                     "vldrb.8 q1, [%[w2]], #16\n\t"
                     "vmladava.s8 r4, q0, q1\n\t"
                     "vldrb.8 q1, [%[w3]], #16\n\t"
                     "vmladava.s8 r6, q0, q1\n\t"
                     "letp lr, 1b\n"
                     "2:\n\t" VP_NN_MVE_COLLECT("%q[sums]")
                     : [sums] "=w"(sums), [x] "+&r"(x), [w0] "+&r"(weights), [w1] "+&r"(w1),
                       [w2] "+&r"(w2), [w3] "+&r"(w3)
                     : [depth] "r"(depth)
                     : "r0", "r2", "r4", "r6", "lr", "q0", "q1", "memory");
    return sums;
}

static void run_pixel(const vp_nn_mve_matmul *m, const int8_t *x, int8_t *output)
{
    const vp_nn_mve_output *o = m->output;
    for (int32_t channel = 0; channel < m->channels; channel += 4) {
        const int32_t c = min(channel, m->channels - 4);
        const int32x4x2_t scale = vld2q_s32(o->scale + 2 * c);
        const int32x4_t shift = vldrbq_s32(o->shift + c);
        int32x4_t v = dot_pixel(x, m->weights + c * m->depth, m->depth);
        v = vqrdmulhq_s32(vaddq_s32(v, scale.val[0]), scale.val[1]);
        /* -1 for negative numbers that are rounded: their ties go down, VRSHL's go up. */
        v = vaddq_s32(v, vshrq_n_s32(vandq_s32(v, shift), 31));
        v = vqaddq_n_s32(vrshlq_s32(v, shift), o->zero_point);
        v = vminq_s32(vmaxq_s32(v, vdupq_n_s32(o->min)), vdupq_n_s32(o->max));
        vstrbq_s32(output + c, v);
    }
}

void vp_nn_mve_matmul_row(const vp_nn_mve_matmul *m, const int8_t *x, int8_t *output)
{
    if (m->pixels == 1 && m->channels >= 4) {
        run_pixel(m, x, output);
    } else if (m->depth <= VECTOR) {
        run_tiles(m, tile_1, 4, x, output);
    } else if (m->depth <= 2 * VECTOR) {
        run_tiles(m, tile_2, 3, x, output);
    } else {
        run_tiles(m, tile_many, 3, x, output);
    }
}
