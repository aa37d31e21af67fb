#include "vp/resize.h"

#define COLUMNS 16u /* Columns that are placed at a time. */

/* A walk along one axis: where resized pixel `index` reads, then the next one and the next, without a
 * division for each. */
typedef struct axis {
    int32_t position;  /* ((2 index + 1) n 128) / m - 128, in 1/256 source pixel, not yet clamped */
    uint32_t remainder;
    int32_t step;
    uint32_t remainder_step;
    uint32_t resized;
    int32_t last;      /* 256 (n - 1), the position of the last source pixel */
} axis;

static axis axis_at(uint32_t index, uint32_t source, uint32_t resized)
{
    const uint32_t first = (2u * index + 1u) * source * 128u;
    const uint32_t step = source * 256u;
    return (axis){
        .position = (int32_t)(first / resized) - 128,
        .remainder = first % resized,
        .step = (int32_t)(step / resized),
        .remainder_step = step % resized,
        .resized = resized,
        .last = (int32_t)(source - 1u) * 256,
    };
}

static void axis_next(axis *a)
{
    a->position += a->step;
    a->remainder += a->remainder_step;
    if (a->remainder >= a->resized) {
        a->remainder -= a->resized;
        a->position++;
    }
}

/* A pixel << 9 | the way from it to the one after it in 1/256. The last pixel is reached from the one
 * before it, 256/256 away, unless it is the only one: so the one after is always there to be read. */
static uint32_t axis_place(const axis *a)
{
    const uint32_t position = (uint32_t)a->position;
    if (position < (uint32_t)a->last) {
        return position + (position & ~UINT32_C(255));
    }
    if (a->position < 0 || a->last == 0) {
        return 0;
    }
    return ((uint32_t)a->last / 256u - 1u) << 9 | 256u;
}

static uint32_t row_place(const vp_resize *g, uint32_t row)
{
    const axis y = axis_at(row + g->crop_top, g->source_height, (uint32_t)g->crop_height + g->margin);
    return axis_place(&y);
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

/* Two source rows, and the way from the upper to the lower one in 1/256. */
typedef struct pair {
    const uint8_t *upper;
    const uint8_t *lower;
    uint32_t fraction;
} pair;

/* What the four pixels about a position count, together 65536. */
typedef struct weights {
    uint32_t upper_left;
    uint32_t upper_right;
    uint32_t lower_left;
    uint32_t lower_right;
} weights;

static inline weights weights_of(uint32_t right, uint32_t down)
{
    const uint32_t both = right * down;
    return (weights){
        .upper_left = 65536u - 256u * (right + down) + both,
        .upper_right = 256u * right - both,
        .lower_left = 256u * down - both,
        .lower_right = both,
    };
}

static inline int8_t mix(const uint8_t *upper, const uint8_t *lower, uint32_t right, weights w,
                         const int8_t *lut)
{
    const uint32_t sum = upper[0] * w.upper_left + upper[right] * w.upper_right +
                         lower[0] * w.lower_left + lower[right] * w.lower_right;
    return lut[(sum + 32768u) >> 16];
}

/* `channels`, and `right`, the bytes to a pixel's right neighbour, are constants in two of the three
 * places where this is inlined. */
static inline int8_t *mix_columns(const pair *rows, const uint32_t *places, uint32_t count,
                                  uint32_t channels, uint32_t right, const int8_t *lut, int8_t *out)
{
    for (uint32_t i = 0; i < count; i++) {
        const weights w = weights_of(places[i] & 511u, rows->fraction);
        const uint32_t pixel = (places[i] >> 9) * channels;
        if (channels == 3u) {
            out[0] = mix(rows->upper + pixel, rows->lower + pixel, right, w, lut);
            out[1] = mix(rows->upper + pixel + 1, rows->lower + pixel + 1, right, w, lut);
            out[2] = mix(rows->upper + pixel + 2, rows->lower + pixel + 2, right, w, lut);
        } else {
            for (uint32_t c = 0; c < channels; c++) {
                out[c] = mix(rows->upper + pixel + c, rows->lower + pixel + c, right, w, lut);
            }
        }
        out += channels;
    }
    return out;
}

static int8_t *copy_columns(const uint8_t *source, uint32_t count, const int8_t *lut, int8_t *out)
{
    for (uint32_t i = 0; i < count; i++) {
        *out++ = lut[source[i]];
    }
    return out;
}

/* One row of the crop. */
static int8_t *mix_rows(const vp_resize *g, const pair *rows, const int8_t *lut, int8_t *out)
{
    uint32_t places[COLUMNS];
    if (rows->fraction % 256u == 0u && g->source_width == (uint32_t)g->crop_width + g->margin) {
        const uint8_t *row = rows->fraction == 0u ? rows->upper : rows->lower;
        return copy_columns(row + (uint32_t)g->crop_left * g->channels,
                            (uint32_t)g->crop_width * g->channels, lut, out);
    }
    axis x = axis_at(g->crop_left, g->source_width, (uint32_t)g->crop_width + g->margin);
    for (uint32_t left = g->crop_width; left > 0u;) {
        const uint32_t count = left < COLUMNS ? left : COLUMNS;
        for (uint32_t i = 0; i < count; i++) {
            places[i] = axis_place(&x);
            axis_next(&x);
        }
        if (g->channels == 3u && g->source_width > 1u) {
            out = mix_columns(rows, places, count, 3u, 3u, lut, out);
        } else if (g->channels == 1u && g->source_width > 1u) {
            out = mix_columns(rows, places, count, 1u, 1u, lut, out);
        } else {
            const uint32_t right = g->source_width > 1u ? g->channels : 0u;
            out = mix_columns(rows, places, count, g->channels, right, lut, out);
        }
        left -= count;
    }
    return out;
}

int vp_resize_rows(const vp_resize *geometry, const uint8_t *source, const int8_t lut[256],
                   uint32_t first_row, uint32_t row_count, int8_t *out)
{
    if (!geometry_ok(geometry) || first_row > geometry->crop_height ||
        row_count > geometry->crop_height - first_row) {
        return -1;
    }
    const uint32_t stride = (uint32_t)geometry->source_width * geometry->channels;
    for (uint32_t row = first_row; row < first_row + row_count; row++) {
        const uint32_t place = row_place(geometry, row);
        const uint8_t *upper = source + (place >> 9) * stride;
        const uint8_t *lower = geometry->source_height > 1u ? upper + stride : upper;
        const pair rows = {.upper = upper, .lower = lower, .fraction = place & 511u};
        out = mix_rows(geometry, &rows, lut, out);
    }
    return 0;
}

uint32_t vp_resize_reach(const vp_resize *geometry, uint32_t row)
{
    const uint32_t place = row_place(geometry, row);
    return (place >> 9) + 1u + ((place & 511u) != 0u);
}

int vp_resize_stream_begin(vp_resize_stream *stream, const vp_resize *geometry,
                           const int8_t lut[256], uint8_t *rows, size_t rows_size)
{
    if (!geometry_ok(geometry) ||
        rows_size < (size_t)2 * geometry->source_width * geometry->channels) {
        return -1;
    }
    *stream = (vp_resize_stream){.geometry = *geometry, .lut = lut, .rows = rows};
    return 0;
}

static uint8_t *stream_row(const vp_resize_stream *stream, uint32_t row)
{
    return stream->rows + row % 2u * stream->geometry.source_width * stream->geometry.channels;
}

uint8_t *vp_resize_stream_row_wanted(const vp_resize_stream *stream)
{
    if (stream->made == stream->geometry.crop_height ||
        vp_resize_reach(&stream->geometry, stream->made) <= stream->given) {
        return NULL;
    }
    return stream_row(stream, stream->given);
}

void vp_resize_stream_row_given(vp_resize_stream *stream)
{
    if (vp_resize_stream_row_wanted(stream) != NULL) {
        stream->given++;
    }
}

int vp_resize_stream_make(vp_resize_stream *stream, int8_t *out)
{
    if (stream->made == stream->geometry.crop_height ||
        vp_resize_stream_row_wanted(stream) != NULL) {
        return 0;
    }
    const uint32_t place = row_place(&stream->geometry, stream->made);
    const pair rows = {
        .upper = stream_row(stream, place >> 9),
        .lower = stream_row(stream, (place >> 9) + ((place & 511u) != 0u)),
        .fraction = place & 511u,
    };
    (void)mix_rows(&stream->geometry, &rows, stream->lut, out);
    stream->made++;
    return 1;
}
