#include "filters.h"

#include "assembly.h"

/* What follows the full tiles of a row; the assembly indexes a table with these numbers. */
enum {
    TAIL_NONE = 0,
    TAIL_3 = 1, /* three more pixels */
    TAIL_2 = 2, /* one or two more */
    TAIL_6 = 3, /* five or six more */
    FULL_TILES = 4
};

/*
 * One run of the assembly, which loads the fields in this order: half of the channels of a row. Two
 * or six pixels are computed where one or five are left; what is too much goes to the places of
 * channels that come later, and at last to the bytes behind the row.
 */
typedef struct planes {
    const int8_t *rows[3]; /* first plane under each row of the window */
    int32_t skips[3];      /* bytes from where a row's last full tile ends to the next plane */
    int8_t *output;        /* first pixel of the first channel */
    int8_t *tail;          /* the same in the last, smaller tile */
    int32_t tail_step;     /* bytes between channels there */
    int32_t channels;
    const int8_t *records;
    int32_t tile_step; /* bytes from tile to tile */
    int32_t offset;    /* (zero point << 16) + 2^15 */
    int32_t tiles;     /* full tiles of 4 pixels */
    int32_t first;     /* FULL_TILES, or `last` where there are none */
    int32_t last;      /* one of the three tails */
} planes;

/*
 * Registers: r0 output, r1 .. r3 the rows of the window, r4 .. r7 sums of four pixels, r8 .. r10
 * activations, r11 and r12 weights of a row as pairs (w0, w1) and (w1, w2), lr tiles left. On the
 * stack:
 *
 *    0 bias, four times      16 weights, six words        40 k               44 multiplier
 *   48 offset                52 tile step                 56 skips           68 output
 *   72 tail                  76 tail step                 80 channels left   84 records
 *   88 offset without rounding    92 tiles                96 first jump     100 last jump
 */
#define BEGIN                                                                                      \
    "push {r4-r11, lr}\n"                                                                          \
    "sub sp, sp, #104\n"                                                                           \
    "ldm r0!, {r1-r3}\n"                                                                           \
    "ldm r0!, {r4-r11}\n"                                                                          \
    "add r12, sp, #56\n"                                                                           \
    "stm r12, {r4-r11}\n"                                                                          \
    "ldm r0, {r4-r8}\n"                                                                            \
    "str r4, [sp, #52]\n"                                                                          \
    "strd r5, r6, [sp, #88]\n"                                                                     \
    "adr r12, 90f\n"                                                                               \
    "ldr r7, [r12, r7, lsl #2]\n"                                                                  \
    "ldr r8, [r12, r8, lsl #2]\n"                                                                  \
    "add r7, r7, r12\n"                                                                            \
    "add r8, r8, r12\n"                                                                            \
    "strd r7, r8, [sp, #96]\n"

#define CHANNEL                                                                                    \
    "1:\n"                                                                                         \
    "ldr r0, [sp, #84]\n"                                                                          \
    "ldm r0!, {r8-r12}\n"                                                                          \
    "str r0, [sp, #84]\n"                                                                          \
    "and r0, r8, #31\n"                                                                            \
    "strd r0, r9, [sp, #40]\n"                                                                     \
    "asr r4, r8, #5\n"                                                                             \
    "mov r5, r4\n"                                                                                 \
    "mov r6, r4\n"                                                                                 \
    "mov r7, r4\n"                                                                                 \
    "stm sp, {r4-r7}\n"                                                                            \
    "mov r8, #1\n"                                                                                 \
    "lsl r8, r8, r0\n"                                                                             \
    "ldrd r9, lr, [sp, #88]\n"                                                                     \
    "add r9, r9, r8, lsr #2\n"                                                                     \
    "str r9, [sp, #48]\n"                                                                          \
    "sxtb16 r4, r10\n"                                                                             \
    "sxtb16 r5, r10, ror #8\n"                                                                     \
    "sxtb16 r6, r11\n"                                                                             \
    "sxtb16 r7, r11, ror #8\n"                                                                     \
    "sxtb16 r8, r12\n"                                                                             \
    "sxtb16 r9, r12, ror #8\n"                                                                     \
    "add r0, sp, #16\n"                                                                            \
    "stm r0, {r4-r9}\n"                                                                            \
    "ldr pc, [sp, #96]\n"

/* One row of the window for four pixels. */
#define ROW_1(POINTER, WEIGHTS)                                                                    \
    "ldrd r11, r12, [sp, #" WEIGHTS "]\n"                                                          \
    "ldm " POINTER ", {r8-r10}\n"                                                                  \
    "add " POINTER ", " POINTER ", #8\n"                                                           \
    "smlad r4, r8, r11, r4\n"                                                                      \
    "smlabt r4, r9, r12, r4\n"                                                                     \
    "smlatb r5, r8, r11, r5\n"                                                                     \
    "smlad r5, r9, r12, r5\n"                                                                      \
    "smlad r6, r9, r11, r6\n"                                                                      \
    "smlabt r6, r10, r12, r6\n"                                                                    \
    "smlatb r7, r9, r11, r7\n"                                                                     \
    "smlad r7, r10, r12, r7\n"
#define ROW_2(POINTER, WEIGHTS)                                                                    \
    "ldrd r11, r12, [sp, #" WEIGHTS "]\n"                                                          \
    "ldm " POINTER ", {r8-r10}\n"                                                                  \
    "smlad r4, r8, r11, r4\n"                                                                      \
    "smlabt r4, r9, r12, r4\n"                                                                     \
    "smlad r5, r9, r11, r5\n"                                                                      \
    "smlabt r5, r10, r12, r5\n"                                                                    \
    "smlad r6, r10, r11, r6\n"                                                                     \
    "ldrd r8, r9, [" POINTER ", #12]\n"                                                            \
    "add " POINTER ", " POINTER ", #16\n"                                                          \
    "smlabt r6, r8, r12, r6\n"                                                                     \
    "smlad r7, r8, r11, r7\n"                                                                      \
    "smlabt r7, r9, r12, r7\n"

/* The same for six pixels; the pointer stays, r0 and lr are the weights, r10 .. r12 activations. */
#define ROW_OF_6_1(POINTER, WEIGHTS)                                                               \
    "ldrd r0, lr, [sp, #" WEIGHTS "]\n"                                                            \
    "ldm " POINTER ", {r10-r12}\n"                                                                 \
    "smlad r4, r10, r0, r4\n"                                                                      \
    "smlabt r4, r11, lr, r4\n"                                                                     \
    "smlatb r5, r10, r0, r5\n"                                                                     \
    "smlad r5, r11, lr, r5\n"                                                                      \
    "smlad r6, r11, r0, r6\n"                                                                      \
    "smlabt r6, r12, lr, r6\n"                                                                     \
    "smlatb r7, r11, r0, r7\n"                                                                     \
    "smlad r7, r12, lr, r7\n"                                                                      \
    "ldr r10, [" POINTER ", #12]\n"                                                                \
    "smlad r8, r12, r0, r8\n"                                                                      \
    "smlabt r8, r10, lr, r8\n"                                                                     \
    "smlatb r9, r12, r0, r9\n"                                                                     \
    "smlad r9, r10, lr, r9\n"
#define ROW_OF_6_2(POINTER, WEIGHTS)                                                               \
    "ldrd r0, lr, [sp, #" WEIGHTS "]\n"                                                            \
    "ldm " POINTER ", {r10-r12}\n"                                                                 \
    "smlad r4, r10, r0, r4\n"                                                                      \
    "smlabt r4, r11, lr, r4\n"                                                                     \
    "smlad r5, r11, r0, r5\n"                                                                      \
    "smlabt r5, r12, lr, r5\n"                                                                     \
    "smlad r6, r12, r0, r6\n"                                                                      \
    "ldrd r10, r11, [" POINTER ", #12]\n"                                                          \
    "smlabt r6, r10, lr, r6\n"                                                                     \
    "smlad r7, r10, r0, r7\n"                                                                      \
    "smlabt r7, r11, lr, r7\n"                                                                     \
    "smlad r8, r11, r0, r8\n"                                                                      \
    "ldrd r10, r11, [" POINTER ", #20]\n"                                                          \
    "smlabt r8, r10, lr, r8\n"                                                                     \
    "smlad r9, r10, r0, r9\n"                                                                      \
    "smlabt r9, r11, lr, r9\n"

/* The same for three pixels. */
#define ROW_OF_3_1(POINTER, WEIGHTS)                                                               \
    "ldrd r11, r12, [sp, #" WEIGHTS "]\n"                                                          \
    "ldm " POINTER ", {r8-r10}\n"                                                                  \
    "smlad r4, r8, r11, r4\n"                                                                      \
    "smlabt r4, r9, r12, r4\n"                                                                     \
    "smlatb r5, r8, r11, r5\n"                                                                     \
    "smlad r5, r9, r12, r5\n"                                                                      \
    "smlad r6, r9, r11, r6\n"                                                                      \
    "smlabt r6, r10, r12, r6\n"
#define ROW_OF_3_2(POINTER, WEIGHTS)                                                               \
    "ldrd r11, r12, [sp, #" WEIGHTS "]\n"                                                          \
    "ldm " POINTER ", {r7-r10}\n"                                                                  \
    "smlad r4, r7, r11, r4\n"                                                                      \
    "smlabt r4, r8, r12, r4\n"                                                                     \
    "smlad r5, r8, r11, r5\n"                                                                      \
    "smlabt r5, r9, r12, r5\n"                                                                     \
    "smlad r6, r9, r11, r6\n"                                                                      \
    "smlabt r6, r10, r12, r6\n"

/* The same for two pixels. */
#define ROW_OF_2_1(POINTER, WEIGHTS)                                                               \
    "ldrd r11, r12, [sp, #" WEIGHTS "]\n"                                                          \
    "ldrd r8, r9, [" POINTER "]\n"                                                                 \
    "smlad r4, r8, r11, r4\n"                                                                      \
    "smlabt r4, r9, r12, r4\n"                                                                     \
    "smlatb r5, r8, r11, r5\n"                                                                     \
    "smlad r5, r9, r12, r5\n"
#define ROW_OF_2_2(POINTER, WEIGHTS)                                                               \
    "ldrd r11, r12, [sp, #" WEIGHTS "]\n"                                                          \
    "ldm " POINTER ", {r8-r10}\n"                                                                  \
    "smlad r4, r8, r11, r4\n"                                                                      \
    "smlabt r4, r9, r12, r4\n"                                                                     \
    "smlad r5, r9, r11, r5\n"                                                                      \
    "smlabt r5, r10, r12, r5\n"

#define ROWS(ROW) ROW("r1", "16") ROW("r2", "24") ROW("r3", "32")

#define SCALED(SUM, K, MULTIPLIER, OFFSET, PLACE)                                                  \
    "lsl " SUM ", " SUM ", " K "\n"                                                                \
    "smmla " SUM ", " SUM ", " MULTIPLIER ", " OFFSET "\n"                                         \
    "ssat " SUM ", #8, " SUM ", asr #16\n"                                                         \
    "strh " SUM ", [r0, #" PLACE "]\n"
#define STORED(SUM, PLACE) SCALED(SUM, "r8", "r9", "r10", PLACE)
#define STORED_6(SUM, PLACE) SCALED(SUM, "r10", "r11", "r12", PLACE)

#define TILES(ROW, ROW_OF_6, ROW_OF_3, ROW_OF_2)                                                   \
    "24:\n"                                                                                        \
    "ldr r0, [sp, #68]\n"                                                                          \
    "25:\n"                                                                                        \
    "ldm sp, {r4-r7}\n" ROWS(ROW)                                                                  \
    "ldrd r8, r9, [sp, #40]\n"                                                                     \
    "ldrd r10, r11, [sp, #48]\n" STORED("r4", "0") STORED("r5", "4") STORED("r6", "8")             \
        STORED("r7", "12")                                                                         \
    "add r0, r0, r11\n"                                                                            \
    "subs lr, lr, #1\n"                                                                            \
    "bne 25b\n"                                                                                    \
    "ldr pc, [sp, #100]\n"                                                                         \
    "23:\n"                                                                                        \
    "ldm sp, {r4-r7}\n"                                                                            \
    "ldrd r8, r9, [sp]\n" ROWS(ROW_OF_6)                                                           \
    "ldrd r10, r11, [sp, #40]\n"                                                                   \
    "ldr r12, [sp, #48]\n"                                                                         \
    "ldr r0, [sp, #72]\n" STORED_6("r4", "0") STORED_6("r5", "4") STORED_6("r6", "8")              \
        STORED_6("r7", "12") STORED_6("r8", "16") STORED_6("r9", "20")                             \
    "b 20f\n"                                                                                      \
    "21:\n"                                                                                        \
    "ldr r0, [sp, #72]\n"                                                                          \
    "ldm sp, {r4-r6}\n" ROWS(ROW_OF_3)                                                             \
    "ldrd r8, r9, [sp, #40]\n"                                                                     \
    "ldr r10, [sp, #48]\n" STORED("r4", "0") STORED("r5", "4") STORED("r6", "8")                   \
    "b 20f\n"                                                                                      \
    "22:\n"                                                                                        \
    "ldr r0, [sp, #72]\n"                                                                          \
    "ldm sp, {r4, r5}\n" ROWS(ROW_OF_2)                                                            \
    "ldrd r8, r9, [sp, #40]\n"                                                                     \
    "ldr r10, [sp, #48]\n" STORED("r4", "0") STORED("r5", "4")

#define END                                                                                        \
    "20:\n"                                                                                        \
    "add r12, sp, #56\n"                                                                           \
    "ldm r12, {r4-r10}\n"                                                                          \
    "add r1, r1, r4\n"                                                                             \
    "add r2, r2, r5\n"                                                                             \
    "add r3, r3, r6\n"                                                                             \
    "add r7, r7, #16\n"                                                                            \
    "add r8, r8, r9\n"                                                                             \
    "strd r7, r8, [sp, #68]\n"                                                                     \
    "subs r10, r10, #1\n"                                                                          \
    "str r10, [sp, #80]\n"                                                                         \
    "bne 1b\n"                                                                                     \
    "add sp, sp, #104\n"                                                                           \
    "pop {r4-r11, pc}\n"                                                                           \
    ".balign 4\n"                                                                                  \
    "90: .word 20b - 90b + 1, 21b - 90b + 1, 22b - 90b + 1, 23b - 90b + 1, 24b - 90b + 1\n"

VP_NN_DSP_ASSEMBLY static void run_stride_1(VP_NN_DSP_UNUSED const planes *p)
{
    __asm__(BEGIN CHANNEL TILES(ROW_1, ROW_OF_6_1, ROW_OF_3_1, ROW_OF_2_1) END);
}

VP_NN_DSP_ASSEMBLY static void run_stride_2(VP_NN_DSP_UNUSED const planes *p)
{
    __asm__(BEGIN CHANNEL TILES(ROW_2, ROW_OF_6_2, ROW_OF_3_2, ROW_OF_2_2) END);
}

void vp_nn_dsp_depthwise_3x3_row(const vp_nn_dsp_depthwise_3x3 *p, int32_t row,
                                 const vp_nn_rows *input, int8_t *scratch, int8_t *output)
{
    static const int32_t lasts[] = {TAIL_NONE, TAIL_2, TAIL_2, TAIL_3, TAIL_NONE, TAIL_6, TAIL_6};
    const int32_t half = (p->channels + 3) / 4 * 2;
    const int32_t tail = vp_nn_dsp_tail(p->width);
    const int32_t full = (p->width - tail) >> 2;
    const int32_t top = row * p->row_stride - p->pad_top;
    const int32_t consumed = full * 8 * p->column_stride;
    planes run = {
        .output = output,
        .tail = output + full * half * 16,
        .tail_step = 4 * tail,
        .channels = half < p->channels ? half : p->channels,
        .records = p->records,
        .tile_step = half * 16,
        .offset = p->zero_point * 65536 + 32768,
        .tiles = full,
        .last = lasts[tail],
    };
    run.first = full > 0 ? FULL_TILES : run.last;
    for (int32_t ky = 0; ky < 3; ky++) {
        const int32_t y = top + ky;
        const int32_t inside = y >= 0 && y < p->input_height;
        run.rows[ky] = inside ? vp_nn_row(input, y) : scratch;
        run.skips[ky] = (inside ? p->plane : 0) - consumed;
        if (!inside) {
            vp_nn_dsp_fill(scratch, p->padding_bytes, p->input_zero_point);
        }
    }
    void (*const run_half)(const planes *) = p->column_stride == 1 ? run_stride_1 : run_stride_2;
    run_half(&run);
    if (half < p->channels) {
        for (int32_t ky = 0; ky < 3; ky++) {
            run.rows[ky] += half * (run.skips[ky] + consumed);
        }
        run.output += 2;
        run.tail += 2;
        run.channels = p->channels - half;
        run.records += half * 20;
        run_half(&run);
    }
}
