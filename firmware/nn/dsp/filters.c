#include "filters.h"

#include "matmul.h"

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

void vp_nn_dsp_spread_4(const int8_t *const sources[4], int32_t words, int32_t *tile)
{
    const int8_t *s0 = sources[0];
    const int8_t *s1 = sources[1];
    const int8_t *s2 = sources[2];
    const int8_t *s3 = sources[3];
    for (; words > 0; words--) {
        const uint32_t w0 = vp_nn_dsp_load(s0);
        const uint32_t w1 = vp_nn_dsp_load(s1);
        const uint32_t w2 = vp_nn_dsp_load(s2);
        const uint32_t w3 = vp_nn_dsp_load(s3);
        s0 += 4;
        s1 += 4;
        s2 += 4;
        s3 += 4;
        tile[0] = even(w0);
        tile[1] = even(w1);
        tile[2] = even(w2);
        tile[3] = even(w3);
        tile[4] = odd(w0);
        tile[5] = odd(w1);
        tile[6] = odd(w2);
        tile[7] = odd(w3);
        tile += 8;
    }
}

static int32_t entry_of(int32_t depth)
{
    if (depth == 4) {
        return VP_NN_DSP_ONLY_FOUR;
    }
    return ((depth >> 3) & 1 ? VP_NN_DSP_ODD : VP_NN_DSP_EVEN) + (depth & 4 ? VP_NN_DSP_FOUR : 0);
}

void vp_nn_dsp_filter(const vp_nn_dsp_filters *p, const int16_t *tiles, int32_t pixels,
                      int8_t *output)
{
    static void (*const tails[])(const vp_nn_dsp_matmul *) = {
        vp_nn_dsp_matmul_1, vp_nn_dsp_matmul_2, vp_nn_dsp_matmul_3};
    const int32_t tail = pixels & 3;
    const int32_t full = pixels - tail;
    const int32_t last = (p->channels - 1) * p->channel_step;
    vp_nn_dsp_matmul run = {
        .tiles = tiles,
        .records = p->records,
        .rounds = (p->depth + 8) >> 4,
        .entry = entry_of(p->depth),
        .mode = (p->planar ? VP_NN_DSP_INT16 : VP_NN_DSP_INT8) + (p->linear ? 2 : 0),
        .output = output,
        .step = p->channel_step,
        .offset = p->zero_point * 65536 + 32768,
        .pixel_step = p->pixel_step,
    };
    if (full > 0) {
        run.end = output + full * p->pixel_step;
        run.last_end = run.end + last;
        run.skip = run.step - full * p->pixel_step;
        vp_nn_dsp_matmul_4(&run);
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

static void store_word(int8_t *place, int32_t word)
{
    __builtin_memcpy(place, &word, sizeof word);
}

int8_t *vp_nn_dsp_begin_row(const vp_nn_dsp_filters *p, int32_t width, int8_t *output)
{
    if (!p->planar) {
        return output;
    }
    const int32_t pair = (p->zero_point & 0xFFFF) * 0x10001;
    const int32_t gap = p->channel_step - 2 * width;
    for (int32_t at = 0; at < 2 * p->lead; at += 4) {
        store_word(output + at, pair);
    }
    int8_t *const first = output + 2 * p->lead;
    int8_t *behind = first + 2 * width;
    for (int32_t channel = 0; channel < p->channels; channel++) {
        for (int32_t at = 0; at < gap; at += 4) {
            store_word(behind + at, pair);
        }
        behind += p->channel_step;
    }
    return first;
}

void vp_nn_dsp_end_row(const vp_nn_dsp_filters *p, int32_t width, int8_t *output)
{
    if (p->min == INT8_MIN && p->max == INT8_MAX) {
        return;
    }
    for (int32_t i = 0; i < width * p->channels; i++) {
        if (output[i] < p->min) {
            output[i] = (int8_t)p->min;
        } else if (output[i] > p->max) {
            output[i] = (int8_t)p->max;
        }
    }
}
