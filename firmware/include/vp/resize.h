/**
 * @file vp/resize.h
 * The input as it was sent -> the input that the variant wants: bilinear resize, crop, quantize.
 *
 * vp_resize_rows works on an image that is there as a whole. A vp_resize_stream takes the image row by
 * row, for instance from a camera, and keeps two rows of it; the result is the same, bit for bit. With
 * a compiled model (vp/model.h), neither the image nor the model's input ever exists as a whole:
 *
 *     static uint8_t lines[2 * CAMERA_WIDTH * CHANNELS];
 *     vp_resize_stream stream;
 *     if (vp_resize_stream_begin(&stream, &geometry, lut, lines, sizeof(lines)) != 0) {
 *         (the geometry is out of range)
 *     }
 *     vp_model_begin(&my_model, arena);
 *     while (!vp_model_done(&my_model, arena)) {
 *         int8_t *row = vp_model_row_wanted(&my_model, arena);
 *         uint8_t *line = vp_resize_stream_row_wanted(&stream);
 *         if (row == NULL) {
 *             vp_model_step(&my_model, arena);
 *         } else if (line != NULL) {
 *             (write the camera's next row, CAMERA_WIDTH * CHANNELS bytes, to line)
 *             vp_resize_stream_row_given(&stream);
 *         } else {
 *             vp_resize_stream_make(&stream, row);
 *             vp_model_row_given(&my_model, arena);
 *         }
 *     }
 */
#ifndef VP_RESIZE_H
#define VP_RESIZE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Largest height or width of a source or destination image, in pixels. */
#define VP_RESIZE_MAX_SIDE 4096u

/** Geometry of one resize: source -> (crop_height + margin, crop_width + margin) -> crop. */
typedef struct vp_resize {
    uint16_t source_height;  /**< 1 .. VP_RESIZE_MAX_SIDE pixels. */
    uint16_t source_width;
    uint16_t crop_height;    /**< Rows and columns of the result. */
    uint16_t crop_width;
    uint16_t margin;         /**< Rows and columns by which the resized image exceeds the crop. */
    uint16_t crop_top;       /**< 0 .. margin: first row and column of the crop. */
    uint16_t crop_left;
    uint8_t channels;        /**< Interleaved; the same in source and result. */
} vp_resize;

/**
 * Writes rows `first_row` .. `first_row + row_count - 1` of the crop to `out`.
 *
 * Half-pixel centres, edges clamped, integer arithmetic, no antialiasing. With n source and m
 * resized pixels along an axis, resized pixel i reads at p = clamp(((2 i + 1) n 128) / m - 128,
 * 0, 256 (n - 1)) (floor division) in 1/256 pixel; with fx, fy the low 8 bits of p, the result is
 * (((a (256 - fx) + b fx) (256 - fy) + (c (256 - fx) + d fx) fy) + 32768) >> 16.
 *
 * @param source  source_height * source_width * channels bytes.
 * @param lut     what each 8-bit pixel value becomes (the variant's input quantization).
 * @param out     row_count * crop_width * channels values.
 * @return 0, or -1 if the geometry or the rows are out of range (nothing is written).
 */
int vp_resize_rows(const vp_resize *geometry, const uint8_t *source, const int8_t lut[256],
                   uint32_t first_row, uint32_t row_count, int8_t *out);

/** Rows of the source, from the top, that row `row` of the crop is made of: 1 .. source_height, never
 *  falling from one row to the next. For a geometry that vp_resize_rows accepts. */
uint32_t vp_resize_reach(const vp_resize *geometry, uint32_t row);

/** A resize whose source comes row by row. Its fields are its own business. */
typedef struct vp_resize_stream {
    vp_resize geometry;
    const int8_t *lut;
    uint8_t *rows;  /**< The two latest rows of the source. */
    uint16_t given; /**< Rows of the source so far. */
    uint16_t made;  /**< Rows of the crop so far. */
} vp_resize_stream;

/**
 * Starts at the first row of the source and of the crop.
 *
 * @param geometry  is copied.
 * @param lut       as for vp_resize_rows; must outlive the stream.
 * @param rows      memory for two rows of the source; the stream's until it is done.
 * @param rows_size Bytes, at least 2 * source_width * channels.
 * @return 0, or -1 if the geometry is out of range or the memory too small.
 */
int vp_resize_stream_begin(vp_resize_stream *stream, const vp_resize *geometry,
                           const int8_t lut[256], uint8_t *rows, size_t rows_size);

/** Where the next row of the source goes (source_width * channels bytes), in order from row 0; NULL
 *  while a row of the crop must be made first, and once no more rows are wanted: that may be before the
 *  last row of the source. */
uint8_t *vp_resize_stream_row_wanted(const vp_resize_stream *stream);

/** Says that the row which vp_resize_stream_row_wanted asked for has been written. */
void vp_resize_stream_row_given(vp_resize_stream *stream);

/** Writes the next row of the crop, crop_width * channels values, to `out`. @return 1, or 0 if a row of
 *  the source is wanted first, or all are made. */
int vp_resize_stream_make(vp_resize_stream *stream, int8_t *out);

#ifdef __cplusplus
}
#endif

#endif
