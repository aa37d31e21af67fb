#include <string.h>

#include "filters.h"

/* One output row at work. */
typedef struct window_row {
    const vp_nn_window *window;
    const int8_t **rows; /* of the image under the window, NULL outside */
    int8_t *line;        /* room for what a tile sees of one row */
    int32_t zero_point;
    int32_t size; /* bytes of a line of the window */
    int32_t step; /* bytes from window to window */
} window_row;

/* Puts together `width` pixels of a row of the image from column `x` on; those outside it are zero
 * points. */
static const int8_t *make_line(const window_row *r, const int8_t *row, int32_t x, int32_t width)
{
    const int32_t depth = r->window->input_channels;
    const int32_t right = r->window->input_width;
    const int32_t first = x > 0 ? x : 0;
    const int32_t end = x + width < right ? x + width : right;
    memset(r->line, r->zero_point, (size_t)(width * depth));
    if (row != NULL && first < end) {
        memcpy(r->line + (first - x) * depth, row + first * depth, (size_t)((end - first) * depth));
    }
    return r->line;
}

/* What is left of the lines behind their last whole words, `left` bytes each, fills up words of its
 * own at the end of the tile. */
static void spread_rest(const int8_t *source, int32_t step, int32_t left, int32_t ky, int32_t count,
                        int16_t *rest)
{
    for (int32_t i = 0; i < left; i++) {
        const int32_t place = ky * left + i;
        const int32_t word = (place >> 2) * 2 + (place & 1);
        const int8_t *byte = source + i;
        int16_t *half = rest + word * count * 2 + (place >> 1 & 1);
        if (count == 4) {
            half[0] = byte[0];
            half[2] = byte[step];
            half[4] = byte[2 * step];
            half[6] = byte[3 * step];
            continue;
        }
        for (int32_t pixel = 0; pixel < count; pixel++) {
            *half = *byte;
            byte += step;
            half += 2;
        }
    }
}

/* Fills a tile with the windows of `count` pixels; `x` is the left column of the first one's. */
static void gather(const window_row *r, int32_t x, int32_t count, int32_t *tile)
{
    const vp_nn_window *w = r->window;
    const int32_t words = r->size >> 2;
    const int32_t left = r->size & 3;
    const int32_t step = r->step;
    const int32_t width = (count - 1) * w->stride_width + w->kernel_width;
    const int32_t first = x * w->input_channels;
    const int32_t lines = w->kernel_height;
    const int is_inside = x >= 0 && x + width <= w->input_width;
    int16_t *const rest = (int16_t *)(tile + 2 * words * count * lines);
    for (int32_t ky = 0; ky < lines; ky++) {
        const int8_t *row = r->rows[ky];
        const int8_t *source =
            row != NULL && is_inside ? row + first : make_line(r, row, x, width);
        if (count == 4 && words > 0) {
            vp_nn_dsp_spread_4(source, step, words, tile);
        } else {
            for (int32_t i = 0; i < count; i++) {
                vp_nn_dsp_spread(source + i * step, words, count, tile + i);
            }
        }
        if (left > 0) {
            spread_rest(source + 4 * words, step, left, ky, count, rest);
        }
        tile += 2 * words * count;
    }
}

void vp_nn_dsp_conv_2d_row(const vp_nn_dsp_conv_2d *p, int32_t row, const vp_nn_rows *input,
                           int8_t *scratch, int8_t *output)
{
    const vp_nn_window *w = &p->window;
    window_row r = {
        .window = w,
        .rows = (const int8_t **)(void *)scratch,
        .zero_point = p->input_zero_point,
        .size = w->kernel_width * w->input_channels,
        .step = w->stride_width * w->input_channels,
    };
    int32_t *const tiles = (int32_t *)(void *)(r.rows + w->kernel_height);
    r.line = (int8_t *)tiles + p->tile_bytes;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t y = row * w->stride_height - w->pad_top + ky * w->dilation_height;
        r.rows[ky] = y >= 0 && y < w->input_height ? vp_nn_row(input, y) : NULL;
    }

    int8_t *target = vp_nn_dsp_begin_row(&p->filters, w->output_width, output);
    int32_t x = 0;
    while (x < w->output_width) {
        const int32_t pixels = vp_nn_dsp_next_run(w->output_width - x, p->run);
        int32_t *tile = tiles;
        for (int32_t left = pixels; left > 0;) {
            const int32_t count = vp_nn_dsp_next_tile(left);
            gather(&r, x * w->stride_width - w->pad_left, count, tile);
            tile += count * (p->filters.depth >> 1);
            x += count;
            left -= count;
        }
        vp_nn_dsp_filter(&p->filters, (const int16_t *)(const void *)tiles, pixels, target);
        target += pixels * p->filters.pixel_step;
    }
    vp_nn_dsp_end_row(&p->filters, w->output_width, output);
}
