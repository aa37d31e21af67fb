#include "filters.h"

#include "assembly.h"
#include "matmul.h"
#include "matmul_shallow.h"

/* Bytes 0 and 2 of a word as two int16. */
static inline int32_t even(uint32_t word)
{
    int32_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(word));
    return pair;
}

/* Bytes 1 and 3. */
static inline int32_t odd(uint32_t word)
{
    int32_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(word));
    return pair;
}

void vp_nn_dsp_spread(const int8_t *source, int32_t words, int32_t pixels, int32_t *tile)
{
    for (; words > 0; words--) {
        const uint32_t word = vp_nn_dsp_load(source);
        source += 4;
        tile[0] = even(word);
        tile[pixels] = odd(word);
        tile += 2 * pixels;
    }
}

/* r0 and r12 pixels 0 and 2, r1 step, r2 words, r3 tile. */
VP_NN_DSP_ASSEMBLY void vp_nn_dsp_spread_4(VP_NN_DSP_UNUSED const int8_t *source,
                                           VP_NN_DSP_UNUSED int32_t step,
                                           VP_NN_DSP_UNUSED int32_t words,
                                           VP_NN_DSP_UNUSED int32_t *tile)
{
    __asm__("push {r4-r11, lr}\n"
            "add r12, r0, r1, lsl #1\n"
            "1:\n"
            "ldr r9, [r0, r1]\n"
            "ldr r8, [r0], #4\n"
            "ldr r11, [r12, r1]\n"
            "ldr r10, [r12], #4\n"
            "sxtb16 r4, r8\n"
            "sxtb16 r5, r9\n"
            "sxtb16 r6, r10\n"
            "sxtb16 r7, r11\n"
            "sxtb16 r8, r8, ror #8\n"
            "sxtb16 r9, r9, ror #8\n"
            "sxtb16 r10, r10, ror #8\n"
            "sxtb16 r11, r11, ror #8\n"
            "stm r3!, {r4-r11}\n"
            "subs r2, r2, #1\n"
            "bne 1b\n"
            "pop {r4-r11, pc}\n");
}

typedef void (*core)(const vp_nn_dsp_matmul *);

static int32_t entry_of(int32_t depth)
{
    if (depth == 4) {
        return VP_NN_DSP_ONLY_FOUR;
    }
    return ((depth >> 3) & 1 ? VP_NN_DSP_ODD : VP_NN_DSP_EVEN) + (depth & 4 ? VP_NN_DSP_FOUR : 0);
}

static core full_tiles(const vp_nn_dsp_filters *p)
{
    if (p->mode == VP_NN_DSP_PLANAR16 && p->depth == 8) {
        return vp_nn_dsp_matmul_4_depth_8;
    }
    if (p->mode == VP_NN_DSP_PLANAR16 && p->depth == 16) {
        return vp_nn_dsp_matmul_4_depth_16;
    }
    return vp_nn_dsp_matmul_4;
}

void vp_nn_dsp_filter(const vp_nn_dsp_filters *p, const int16_t *tiles, int32_t pixels,
                      int8_t *output)
{
    static const core tails[] = {vp_nn_dsp_matmul_1, vp_nn_dsp_matmul_2, vp_nn_dsp_matmul_3,
                                 vp_nn_dsp_matmul_4, vp_nn_dsp_matmul_5, vp_nn_dsp_matmul_6};
    const int32_t tail = vp_nn_dsp_tail(pixels);
    const int32_t full = pixels - tail;
    const int32_t last = (p->channels - 1) * p->channel_step;
    vp_nn_dsp_matmul run = {
        .tiles = tiles,
        .records = p->records,
        .rounds = (p->depth + 8) >> 4,
        .entry = entry_of(p->depth),
        .mode = p->mode,
        .output = output,
        .step = p->channel_step,
        .offset = p->zero_point * 65536 + 32768,
        .pixel_step = p->pixel_step,
        .depth = p->depth,
    };
    if (full > 0) {
        run.end = output + full * p->pixel_step;
        run.last_end = run.end + last;
        run.skip = run.step - full * p->pixel_step;
        full_tiles(p)(&run);
    }
    if (tail > 0) {
        run.tiles = tiles + full * p->depth;
        run.output = output + full * p->pixel_step;
        run.end = run.output + tail * p->pixel_step;
        run.last_end = run.end + last;
        run.skip = run.step - tail * p->pixel_step;
        tails[tail - 1](&run);
    }
}

static uint32_t pair_of(int32_t value)
{
    return ((uint32_t)value & 0xFFFFu) * 0x10001u;
}

static inline void fill_pairs(int8_t *target, int32_t bytes, uint32_t pair)
{
    for (int32_t at = 0; at < bytes; at += 4) {
        vp_nn_dsp_store(target + at, pair);
    }
}

void vp_nn_dsp_fill(int8_t *target, int32_t bytes, int32_t value)
{
    fill_pairs(target, bytes, pair_of(value));
}

int8_t *vp_nn_dsp_begin_planes(const vp_nn_dsp_planes *p, int8_t *output)
{
    const uint32_t pair = pair_of(p->zero_point);
    const int32_t plane = p->plane;
    const int32_t gap = plane - 2 * p->width;
    int8_t *const first = output + 2 * p->lead;
    int8_t *behind = first + 2 * p->width;
    fill_pairs(output, 2 * p->lead, pair);
    if (gap <= 4) {
        for (int32_t channel = p->channels; channel > 0; channel--) {
            vp_nn_dsp_store(behind, pair);
            behind += plane;
        }
        return first;
    }
    for (int32_t channel = p->channels; channel > 0; channel--) {
        fill_pairs(behind, gap, pair);
        behind += plane;
    }
    return first;
}

int8_t *vp_nn_dsp_begin_row(const vp_nn_dsp_filters *p, int32_t width, int8_t *output)
{
    if (p->mode != VP_NN_DSP_PLANAR16) {
        return output;
    }
    const vp_nn_dsp_planes planes = {width, p->channels, p->channel_step, p->lead, p->zero_point};
    return vp_nn_dsp_begin_planes(&planes, output);
}

void vp_nn_dsp_clamp(int8_t *values, int32_t size, int32_t min, int32_t max)
{
    if (min == INT8_MIN && max == INT8_MAX) {
        return;
    }
    for (int32_t i = 0; i < size; i++) {
        if (values[i] < min) {
            values[i] = (int8_t)min;
        } else if (values[i] > max) {
            values[i] = (int8_t)max;
        }
    }
}

void vp_nn_dsp_end_row(const vp_nn_dsp_filters *p, int32_t width, int8_t *output)
{
    vp_nn_dsp_clamp(output, width * p->channels, p->min, p->max);
}
