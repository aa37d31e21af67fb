#include "filters.h"

void vp_nn_dsp_conv_1x1_tiled_row(const vp_nn_dsp_conv_1x1_tiled *p, int32_t row,
                                  const vp_nn_rows *input, int8_t *output)
{
    const int16_t *tiles = (const int16_t *)(const void *)vp_nn_row(input, row);
    vp_nn_dsp_filter(&p->filters, tiles, p->width,
                     vp_nn_dsp_begin_row(&p->filters, p->width, output));
    vp_nn_dsp_end_row(&p->filters, p->width, output);
}
