#include "../fixed_point.h"
#include "../pool.h"
#include "lanes.h"

static void run_pixel(const vp_nn_pool_2d *p, const vp_nn_rows *input, const vp_nn_area *area,
                      int8_t *output)
{
    const int32_t channels = p->window.input_channels;
    const int32_t width = area->right - area->left;
    const int32_t count = (area->bottom - area->top) * width;
    for (int32_t c = 0; c < channels; c += 4) {
        const mve_pred16_t lanes = vctp32q((uint32_t)(channels - c));
        int32x4_t sums = vdupq_n_s32(0);
        for (int32_t y = area->top; y < area->bottom; y++) {
            const int8_t *pixels = vp_nn_row(input, y) + area->left * channels;
            sums = vp_nn_mve_sum(pixels + c, width, channels, lanes, sums);
        }
        int32_t values[4];
        vstrwq_s32(values, sums);
        for (int32_t i = 0; i < 4; i++) {
            values[i] = vp_nn_clamp(vp_nn_average(values[i], count), p->min, p->max);
        }
        vstrbq_p_s32(output + c, vldrwq_s32(values), lanes);
    }
}

void vp_nn_mve_average_pool_2d_row(const vp_nn_pool_2d *p, int32_t row, const vp_nn_rows *input,
                                   int8_t *output)
{
    for (int32_t column = 0; column < p->window.output_width; column++) {
        const vp_nn_area area = vp_nn_pool_area(&p->window, row, column);
        run_pixel(p, input, &area, output);
        output += p->window.input_channels;
    }
}
