#include "../pool.h"
#include "lanes.h"

static void run_pixel(const vp_nn_pool_2d *p, const vp_nn_rows *input, const vp_nn_area *area,
                      int8_t *output)
{
    const int32_t channels = p->window.input_channels;
    const int32_t width = area->right - area->left;
    for (int32_t c = 0; c < channels; c += 16) {
        const mve_pred16_t lanes = vctp8q((uint32_t)(channels - c));
        int8x16_t x = vdupq_n_s8((int8_t)p->min);
        for (int32_t y = area->top; y < area->bottom; y++) {
            const int8_t *pixels = vp_nn_row(input, y) + area->left * channels;
            x = vp_nn_mve_max(pixels + c, width, channels, lanes, x);
        }
        x = vminq_s8(x, vdupq_n_s8((int8_t)p->max));
        vstrbq_p_s8(output + c, x, lanes);
    }
}

void vp_nn_mve_max_pool_2d_row(const vp_nn_pool_2d *p, int32_t row, const vp_nn_rows *input,
                               int8_t *output)
{
    for (int32_t column = 0; column < p->window.output_width; column++) {
        const vp_nn_area area = vp_nn_pool_area(&p->window, row, column);
        run_pixel(p, input, &area, output);
        output += p->window.input_channels;
    }
}
