#include "vp/resize.h"

/* A position along one axis: the pixel at or before it, the one after it, and the distance in
 * 1/256 pixel. */
typedef struct axis_point {
    uint32_t low;
    uint32_t high;
    uint32_t fraction;
} axis_point;

static axis_point axis_at(uint32_t index, uint32_t source, uint32_t resized)
{
    const uint32_t scaled = ((2u * index + 1u) * source * 128u) / resized;
    const uint32_t last = (source - 1u) * 256u;
    uint32_t position = scaled > 128u ? scaled - 128u : 0u;
    if (position > last) {
        position = last;
    }
    axis_point point;
    point.low = position >> 8;
    point.high = point.low + 1u < source ? point.low + 1u : point.low;
    point.fraction = position & 255u;
    return point;
}

static int side_ok(uint32_t side)
{
    return side >= 1u && side <= VP_RESIZE_MAX_SIDE;
}

static int geometry_ok(const vp_resize *g)
{
    return side_ok(g->source_height) && side_ok(g->source_width) && g->crop_height >= 1u &&
           g->crop_width >= 1u && side_ok((uint32_t)g->crop_height + g->margin) &&
           side_ok((uint32_t)g->crop_width + g->margin) && g->crop_top <= g->margin &&
           g->crop_left <= g->margin && g->channels >= 1u;
}

int vp_resize_rows(const vp_resize *geometry, const uint8_t *source, const int8_t lut[256],
                   uint32_t first_row, uint32_t row_count, int8_t *out)
{
    if (!geometry_ok(geometry) || first_row > geometry->crop_height ||
        row_count > geometry->crop_height - first_row) {
        return -1;
    }
    const uint32_t channels = geometry->channels;
    const uint32_t stride = (uint32_t)geometry->source_width * channels;
    const uint32_t resized_height = (uint32_t)geometry->crop_height + geometry->margin;
    const uint32_t resized_width = (uint32_t)geometry->crop_width + geometry->margin;

    for (uint32_t row = first_row; row < first_row + row_count; row++) {
        const axis_point y = axis_at(row + geometry->crop_top, geometry->source_height, resized_height);
        const uint8_t *upper = source + y.low * stride;
        const uint8_t *lower = source + y.high * stride;
        for (uint32_t column = 0; column < geometry->crop_width; column++) {
            const axis_point x =
                axis_at(column + geometry->crop_left, geometry->source_width, resized_width);
            const uint32_t left = x.low * channels;
            const uint32_t right = x.high * channels;
            for (uint32_t c = 0; c < channels; c++) {
                const uint32_t top =
                    upper[left + c] * (256u - x.fraction) + upper[right + c] * x.fraction;
                const uint32_t bottom =
                    lower[left + c] * (256u - x.fraction) + lower[right + c] * x.fraction;
                const uint32_t pixel =
                    (top * (256u - y.fraction) + bottom * y.fraction + 32768u) >> 16;
                *out++ = lut[pixel];
            }
        }
    }
    return 0;
}
