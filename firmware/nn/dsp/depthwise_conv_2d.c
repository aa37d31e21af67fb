#include <string.h>

#include "filters.h"

/* One output row at work. */
typedef struct window_row {
    const vp_nn_dsp_depthwise_conv_2d *p;
    const int8_t **rows; /* planes of a channel under the window */
    int32_t pairs;       /* of weights in a line of the window */
} window_row;

/* sum + both products of two pairs of int16 */
static inline int32_t add_products(const int8_t *pixels, int32_t weights, int32_t sum)
{
    __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(vp_nn_dsp_load(pixels)), "r"(weights));
    return sum;
}

/* Adds the products of four neighbouring outputs. */
static void sum_window(const window_row *r, int32_t column, const int32_t *weights, int32_t sums[4])
{
    const int32_t step = 2 * r->p->window.stride_width;
    int32_t s0 = sums[0];
    int32_t s1 = sums[1];
    int32_t s2 = sums[2];
    int32_t s3 = sums[3];
    for (int32_t ky = 0; ky < r->p->window.kernel_height; ky++) {
        const int8_t *pixels = r->rows[ky] + column * step;
        for (int32_t i = 0; i < r->pairs; i++) {
            s0 = add_products(pixels, weights[i], s0);
            s1 = add_products(pixels + step, weights[i], s1);
            s2 = add_products(pixels + 2 * step, weights[i], s2);
            s3 = add_products(pixels + 3 * step, weights[i], s3);
            pixels += 4;
        }
        weights += r->pairs;
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

/* As vp_nn_dsp_filters says of a sum. */
static int32_t scaled(const vp_nn_dsp_depthwise_conv_2d *p, int32_t sum, int32_t k,
                      int32_t multiplier)
{
    const int32_t high = (int32_t)((int64_t)(int32_t)((uint32_t)sum << k) * multiplier >> 32);
    const int32_t one = 1 << k;
    int32_t offset = p->zero_point * 65536 + 32768 + (one >> 2);
    if (p->linear && sum < 0) {
        offset -= one >> 1;
    }
    const int32_t result = (high + offset) >> 16;
    if (result < p->min) {
        return p->min;
    }
    return result > p->max ? p->max : result;
}

/* The place of a pixel in a row of tiles, in int16. */
static int32_t tile_place(int32_t width, int32_t half, int32_t channel, int32_t column)
{
    const int32_t full = width - vp_nn_dsp_tail(width);
    const int32_t first = column < full ? column & ~3 : full;
    const int32_t pixels = column < full ? 4 : width - full;
    const int32_t word = channel < half ? channel : channel - half;
    return 2 * (first * half + word * pixels + column - first) + (channel >= half);
}

static void store(const vp_nn_dsp_depthwise_conv_2d *p, int32_t channel, int32_t column,
                  int32_t value, int8_t *output)
{
    const int32_t channels = p->window.output_channels;
    if (p->tiled) {
        const int32_t half = (channels + 3) / 4 * 2;
        const int32_t place = tile_place(p->window.output_width, half, channel, column);
        ((int16_t *)(void *)output)[place] = (int16_t)value;
    } else {
        output[column * channels + channel] = (int8_t)value;
    }
}

static void run_channel(const window_row *r, int32_t channel, const int32_t *record, int8_t *output)
{
    const int32_t bias = record[0] >> 5;
    const int32_t k = record[0] & 31;
    const int32_t width = r->p->window.output_width;
    for (int32_t column = 0; column < width; column += 4) {
        int32_t sums[4] = {bias, bias, bias, bias};
        sum_window(r, column, record + 2, sums);
        for (int32_t i = 0; i < 4 && column + i < width; i++) {
            store(r->p, channel, column + i, scaled(r->p, sums[i], k, record[1]), output);
        }
    }
}

void vp_nn_dsp_depthwise_conv_2d_row(const vp_nn_dsp_depthwise_conv_2d *p, int32_t row,
                                     const vp_nn_rows *input, int8_t *scratch, int8_t *output)
{
    const vp_nn_window *w = &p->window;
    const int32_t lines = w->kernel_height;
    window_row r = {.p = p, .rows = (const int8_t **)(void *)scratch};
    r.pairs = (w->kernel_width + 1) >> 1;
    int8_t *const padding = scratch + 4 * lines;
    vp_nn_dsp_fill(padding, p->padding_bytes, p->input_zero_point);
    for (int32_t ky = 0; ky < lines; ky++) {
        const int32_t y = row * w->stride_height - w->pad_top + ky * w->dilation_height;
        r.rows[ky] = y >= 0 && y < w->input_height ? vp_nn_row(input, y) : padding;
    }
    const int32_t *record = (const int32_t *)(const void *)p->records;
    for (int32_t channel = 0; channel < w->output_channels; channel++) {
        run_channel(&r, channel, record, output);
        record += 2 + lines * r.pairs;
        for (int32_t ky = 0; ky < lines; ky++) {
            r.rows[ky] += r.rows[ky] == padding ? 0 : p->plane;
        }
    }
}
