/**
 * @file vp/resize.h
 * The input as it was sent -> the input that the variant wants: bilinear resize, crop, quantize.
 */
#ifndef VP_RESIZE_H
#define VP_RESIZE_H

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

#ifdef __cplusplus
}
#endif

#endif
