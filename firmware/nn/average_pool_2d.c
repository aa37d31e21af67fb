#include "fixed_point.h"
#include "pool.h"

static void run_lanes(const vp_nn_pool_2d *p, const vp_nn_rows *input, const vp_nn_area *area,
                      int32_t first, int32_t lanes, int8_t *output)
{
    const int32_t channels = p->window.input_channels;
    const int32_t count = (area->bottom - area->top) * (area->right - area->left);
    int32_t sums[VP_NN_LANES] = {0};
    for (int32_t y = area->top; y < area->bottom; y++) {
        const int8_t *pixel = vp_nn_row(input, y) + area->left * channels + first;
        for (int32_t x = area->left; x < area->right; x++) {
            for (int32_t i = 0; i < lanes; i++) {
                sums[i] += pixel[i];
            }
            pixel += channels;
        }
    }
    for (int32_t i = 0; i < lanes; i++) {
        output[first + i] = (int8_t)vp_nn_clamp(vp_nn_average(sums[i], count), p->min, p->max);
    }
}

void vp_nn_average_pool_2d_row(const vp_nn_pool_2d *p, int32_t row, const vp_nn_rows *input,
                               int8_t *output)
{
    const vp_nn_window *w = &p->window;
    for (int32_t column = 0; column < w->output_width; column++) {
        const vp_nn_area area = vp_nn_pool_area(w, row, column);
        for (int32_t first = 0; first < w->input_channels; first += VP_NN_LANES) {
            const int32_t left = w->input_channels - first;
            run_lanes(p, input, &area, first, left < VP_NN_LANES ? left : VP_NN_LANES, output);
        }
        output += w->input_channels;
    }
}
