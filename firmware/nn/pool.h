/** What the pools share. */
#ifndef VP_NN_POOL_H
#define VP_NN_POOL_H

#include "vp/nn.h"

/** The part of a window that lies inside the image: rows top .. bottom - 1 and columns
 * left .. right - 1 of the input. */
typedef struct vp_nn_area {
    int32_t top;
    int32_t bottom;
    int32_t left;
    int32_t right;
} vp_nn_area;

static inline vp_nn_area vp_nn_pool_area(const vp_nn_window *w, int32_t row, int32_t column)
{
    const int32_t y = row * w->stride_height - w->pad_top;
    const int32_t x = column * w->stride_width - w->pad_left;
    const int32_t bottom = y + w->kernel_height;
    const int32_t right = x + w->kernel_width;
    vp_nn_area area;
    area.top = y > 0 ? y : 0;
    area.left = x > 0 ? x : 0;
    area.bottom = bottom < w->input_height ? bottom : w->input_height;
    area.right = right < w->input_width ? right : w->input_width;
    return area;
}

/** sum / count to nearest, ties away from zero. */
static inline int32_t vp_nn_average(int32_t sum, int32_t count)
{
    const int32_t half = count / 2;
    return (sum > 0 ? sum + half : sum - half) / count;
}

#endif
