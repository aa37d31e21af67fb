#include <string.h>

#include "../pool.h"
#include "maximum.h"

static void run_pixel(const vp_nn_pool_2d *p, const vp_nn_rows *input, const vp_nn_area *area,
                      int8_t *output)
{
    const int32_t channels = p->window.input_channels;
    memset(output, INT8_MIN, (size_t)channels);
    for (int32_t y = area->top; y < area->bottom; y++) {
        const int8_t *pixel = vp_nn_row(input, y) + area->left * channels;
        for (int32_t x = area->left; x < area->right; x++) {
            vp_nn_dsp_raise(output, pixel, channels);
            pixel += channels;
        }
    }
}

void vp_nn_dsp_max_pool_2d_row(const vp_nn_pool_2d *p, int32_t row, const vp_nn_rows *input,
                               int8_t *output)
{
    const vp_nn_window *w = &p->window;
    int8_t *target = output;
    for (int32_t column = 0; column < w->output_width; column++) {
        const vp_nn_area area = vp_nn_pool_area(w, row, column);
        run_pixel(p, input, &area, target);
        target += w->input_channels;
    }
    vp_nn_dsp_clamp(output, w->output_width * w->input_channels, p->min, p->max);
}
