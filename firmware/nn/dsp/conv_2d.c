#include <string.h>

#include "filters.h"

/* The pixels of one row under a window whose left column is `x`: in the image where they all are
 * there, else put together in `buffer`. */
static const int8_t *line_at(const vp_nn_dsp_conv_2d *p, const int8_t *image_row, int32_t x,
                             int8_t *buffer)
{
    const vp_nn_window *w = &p->window;
    const int32_t depth = w->input_channels;
    if (image_row != NULL && x >= 0 && w->dilation_width == 1 &&
        x + w->kernel_width <= w->input_width) {
        return image_row + x * depth;
    }
    int8_t *pixel = buffer;
    for (int32_t kx = 0; kx < w->kernel_width; kx++) {
        if (image_row != NULL && x >= 0 && x < w->input_width) {
            memcpy(pixel, image_row + x * depth, (size_t)depth);
        } else {
            memset(pixel, p->input_zero_point, (size_t)depth);
        }
        pixel += depth;
        x += w->dilation_width;
    }
    return buffer;
}

/* Lines of whole words go straight into the tile. */
static void gather_words(const vp_nn_dsp_conv_2d *p, const int8_t *image_row, int32_t x,
                         int32_t count, int8_t *buffers, int32_t *tile)
{
    const vp_nn_window *w = &p->window;
    const int32_t size = w->kernel_width * w->input_channels;
    const int8_t *sources[4];
    for (int32_t i = 0; i < count; i++) {
        sources[i] = line_at(p, image_row, x + i * w->stride_width, buffers + i * size);
    }
    if (count == 4) {
        vp_nn_dsp_spread_4(sources, size >> 2, tile);
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        vp_nn_dsp_spread(sources[i], size >> 2, count, tile + i);
    }
}

static const int8_t *image_row(const vp_nn_dsp_conv_2d *p, const vp_nn_rows *input, int32_t y)
{
    return y >= 0 && y < p->window.input_height ? vp_nn_row(input, y) : NULL;
}

/* Other lines are strung together first. */
static void gather_bytes(const vp_nn_dsp_conv_2d *p, const vp_nn_rows *input, int32_t y, int32_t x,
                         int8_t *patch, int8_t *buffer)
{
    const vp_nn_window *w = &p->window;
    const int32_t size = w->kernel_width * w->input_channels;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int8_t *row = image_row(p, input, y + ky * w->dilation_height);
        const int8_t *line = line_at(p, row, x, buffer);
        int32_t i = 0;
        for (; i + 4 <= size; i += 4) {
            const uint32_t word = vp_nn_dsp_load(line + i);
            memcpy(patch + i, &word, sizeof word);
        }
        for (; i < size; i++) {
            patch[i] = line[i];
        }
        patch += size;
    }
}

static void gather(const vp_nn_dsp_conv_2d *p, const vp_nn_rows *input, int32_t y, int32_t x,
                   int32_t count, int8_t *scratch)
{
    const vp_nn_window *w = &p->window;
    const int32_t depth = p->filters.depth;
    const int32_t size = w->kernel_width * w->input_channels;
    int32_t *tile = (int32_t *)(void *)scratch;
    int8_t *const buffer = scratch + 8 * depth;
    if (size % 4 == 0) {
        for (int32_t ky = 0; ky < w->kernel_height; ky++) {
            const int8_t *row = image_row(p, input, y + ky * w->dilation_height);
            gather_words(p, row, x, count, buffer, tile);
            tile += count * (size >> 1);
        }
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        gather_bytes(p, input, y, x + i * w->stride_width, buffer, buffer + depth);
        vp_nn_dsp_spread(buffer, depth >> 2, count, tile + i);
    }
}

void vp_nn_dsp_conv_2d_row(const vp_nn_dsp_conv_2d *p, int32_t row, const vp_nn_rows *input,
                           int8_t *scratch, int8_t *output)
{
    const vp_nn_window *w = &p->window;
    const int32_t y = row * w->stride_height - w->pad_top;
    int8_t *target = vp_nn_dsp_begin_row(&p->filters, w->output_width, output);
    for (int32_t x = 0; x < w->output_width; x += 4) {
        const int32_t count = w->output_width - x < 4 ? w->output_width - x : 4;
        gather(p, input, y, x * w->stride_width - w->pad_left, count, scratch);
        vp_nn_dsp_filter(&p->filters, (const int16_t *)(const void *)scratch, count, target);
        target += count * p->filters.pixel_step;
    }
    vp_nn_dsp_end_row(&p->filters, w->output_width, output);
}
