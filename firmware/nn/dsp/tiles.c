#include <string.h>

#include "tiles.h"

/* Brings the pixels into tiles. Channels beyond the last are 0. */
static void fill_tiles(const vp_nn_dsp_conv_1x1 *p, const int8_t *pixel, int32_t pixels,
                       int32_t *tile)
{
    const int32_t step = p->column_stride * p->input_channels;
    const int32_t words = p->input_channels >> 2;
    const int32_t left = p->input_channels & 3;
    while (pixels > 0) {
        const int32_t count = vp_nn_dsp_next_tile(pixels);
        const int is_full = count == 4 && words > 0;
        if (is_full) {
            vp_nn_dsp_spread_4(pixel, step, words, tile);
        }
        for (int32_t i = 0; i < count; i++) {
            if (!is_full) {
                vp_nn_dsp_spread(pixel, words, count, tile + i);
            }
            if (left > 0) {
                int8_t last[4] = {0};
                memcpy(last, pixel + 4 * words, (size_t)left);
                vp_nn_dsp_spread(last, 1, count, tile + 2 * words * count + i);
            }
            pixel += step;
        }
        tile += count * (p->filters.depth >> 1);
        pixels -= count;
    }
}

void vp_nn_dsp_convolve_pixels(const vp_nn_dsp_conv_1x1 *p, const int8_t *source, int8_t *scratch,
                               int8_t *output)
{
    const vp_nn_dsp_filters *filters = &p->filters;
    int32_t *const tiles = (int32_t *)(void *)scratch;
    int8_t *target = vp_nn_dsp_begin_row(filters, p->width, output);
    int32_t left = p->width;
    while (left > 0) {
        const int32_t pixels = vp_nn_dsp_next_run(left, p->run);
        fill_tiles(p, source, pixels, tiles);
        vp_nn_dsp_filter(filters, (const int16_t *)(const void *)tiles, pixels, target);
        source += pixels * p->column_stride * p->input_channels;
        target += pixels * filters->pixel_step;
        left -= pixels;
    }
    vp_nn_dsp_end_row(filters, p->width, output);
}
