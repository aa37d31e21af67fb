/**
 * @file vp/nn_dsp.h
 * Kernels for Armv7E-M with the DSP extension (Cortex-M4, M7, M33).
 *
 * What vp/nn.h says of every kernel holds here too. Rows between these kernels may stand in other
 * layouts, which the compiler chooses; all of them begin on 4-byte boundaries:
 *
 *  - PLANAR16: [channels][plane] int16, a plane being `lead` columns of padding, the pixels of the
 *    row and padding up to an even number. Padding holds the zero point. Some bytes behind the last
 *    plane may be read and written.
 *  - TILE16: tiles of 4 pixels and, where it needs one, a last one of 1 to 3, 5 or 6, as few tiles
 *    as possible. A tile of P pixels is [depth / 2][P] words of two int16, depth being the number
 *    of channels rounded up to 4. Word w holds the channels w and w + depth / 2. Channels that do
 *    not exist hold anything. 16 bytes more may be written.
 */
#ifndef VP_NN_DSP_H
#define VP_NN_DSP_H

#include "vp/nn.h"

#if !defined(__ARM_FEATURE_DSP) || !defined(__thumb2__)
#error "needs Armv7E-M with DSP: -mcpu=cortex-m4, m7 or m33; or vp compile --kernels portable"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** What a convolution writes. Linear: results below the zero point count; else an activation clamps
 * to it or above. The assembly indexes a table with these numbers. */
enum vp_nn_dsp_mode {
    VP_NN_DSP_PLANAR16 = 0, /**< PLANAR16, not linear. */
    VP_NN_DSP_NHWC = 1,     /**< NHWC, not linear. */
    VP_NN_DSP_LINEAR = 2    /**< NHWC, linear. */
};

/**
 * The filters of a convolution and what becomes of their sums.
 *
 * A record is [bias << 5 | k][multiplier][depth int8], depth a multiple of 4. An output is
 * (zero point << 16) + 2^15 + 2^(k - 2) + (sum << k) * multiplier / 2^32, less 2^(k - 1) where the
 * sum is negative and the mode linear; its upper half saturates to int8. The compiler has shown
 * that nothing overflows and that the result is that of vp_nn_output.
 */
typedef struct vp_nn_dsp_filters {
    const int8_t *records;
    int32_t depth;
    int32_t channels;
    int32_t zero_point;   /**< Of the output. */
    int32_t mode;         /**< A vp_nn_dsp_mode. */
    int32_t channel_step; /**< Bytes from channel to channel in the output: a plane, or 1. */
    int32_t pixel_step;   /**< Bytes from pixel to pixel: 2, or the number of channels. */
    int32_t lead;         /**< Columns of padding ahead of a plane. */
    int32_t min;          /**< Of NHWC outputs: fused activation. */
    int32_t max;
} vp_nn_dsp_filters;

/** CONV_2D with a 1x1 kernel and no padding, from NHWC. */
typedef struct vp_nn_dsp_conv_1x1 {
    vp_nn_dsp_filters filters;
    int32_t width;          /**< Pixels of an output row. */
    int32_t run;            /**< Pixels at a time, a multiple of 4; at the end up to 2 more. */
    int32_t input_channels; /**< At most `depth`. */
    int32_t row_stride;
    int32_t column_stride;
} vp_nn_dsp_conv_1x1;

/** Scratch: the smaller of `run` + 2 and `width`, times depth, times 2 bytes. */
void vp_nn_dsp_conv_1x1_row(const vp_nn_dsp_conv_1x1 *p, int32_t row, const vp_nn_rows *input,
                            int8_t *scratch, int8_t *output);

/** FULLY_CONNECTED: `width` vectors of input_channels elements; column_stride is 1. */
void vp_nn_dsp_fully_connected_run(const vp_nn_dsp_conv_1x1 *p, const int8_t *input,
                                   int8_t *scratch, int8_t *output);

/** CONV_2D with a 1x1 kernel and strides of 1, from TILE16. */
typedef struct vp_nn_dsp_conv_1x1_tiled {
    vp_nn_dsp_filters filters;
    int32_t width;
} vp_nn_dsp_conv_1x1_tiled;

void vp_nn_dsp_conv_1x1_tiled_row(const vp_nn_dsp_conv_1x1_tiled *p, int32_t row,
                                  const vp_nn_rows *input, int8_t *output);

/**
 * FULLY_CONNECTED of one vector, and CONV_2D with a 1x1 kernel of an image of a single pixel.
 *
 * Four channels c0 .. c3 at a time: [bias << 5 | k][multiplier] of each, then words of two int16,
 * as many for each of c0, c1 and of c2, c3 as the tile has, rounded up to 4, in turn. An int16
 * holds the weight of c1 (c3) times 256 plus that of c0 (c2). The products of c1 (c3) sum to less
 * than 2^23.
 */
typedef struct vp_nn_dsp_pixel {
    const int8_t *quartets;
    int32_t quartet_count;  /**< At least 1. */
    int32_t input_channels; /**< At most rest.depth. */
    vp_nn_dsp_filters rest; /**< The channels behind; 0 or more. */
} vp_nn_dsp_pixel;

/** From NHWC. Scratch: twice the depth, rounded up to 8, bytes. */
void vp_nn_dsp_pixel_run(const vp_nn_dsp_pixel *p, const int8_t *input, int8_t *scratch,
                         int8_t *output);
void vp_nn_dsp_pixel_row(const vp_nn_dsp_pixel *p, int32_t row, const vp_nn_rows *input,
                         int8_t *scratch, int8_t *output);

/** From TILE16. */
void vp_nn_dsp_pixel_tiled_row(const vp_nn_dsp_pixel *p, int32_t row, const vp_nn_rows *input,
                               int8_t *output);

/** CONV_2D with one group and no dilation of columns, from NHWC. The weights of a filter are the
 * lines of the window, [kernel_width][channels] each: of every line as many groups of four as it
 * has, then what is left of the lines, then zeros up to `depth`. */
typedef struct vp_nn_dsp_conv_2d {
    vp_nn_dsp_filters filters;
    vp_nn_window window;
    int32_t input_zero_point;
    int32_t run;        /**< Pixels at a time, a multiple of 4; at the end up to 2 more. */
    int32_t tile_bytes; /**< The smaller of `run` + 2 and the output's width, times 2 * depth. */
} vp_nn_dsp_conv_2d;

/** Scratch: 4 * kernel_height + tile_bytes + (5 * stride_width + kernel_width) * input_channels
 * bytes. */
void vp_nn_dsp_conv_2d_row(const vp_nn_dsp_conv_2d *p, int32_t row, const vp_nn_rows *input,
                           int8_t *scratch, int8_t *output);

/**
 * DEPTHWISE_CONV_2D with a 3x3 kernel, a column stride of 1 or 2, no dilation and as many output as
 * input channels; min is the zero point or above. From PLANAR16 to TILE16.
 *
 * A record is [bias << 5 | k][multiplier][3][4 int8], as in vp_nn_dsp_filters; the weights of a row
 * are w0, w1, w1, w2.
 */
typedef struct vp_nn_dsp_depthwise_3x3 {
    const int8_t *records;
    int32_t input_height;
    int32_t width; /**< Of the output. */
    int32_t channels;
    int32_t row_stride;
    int32_t column_stride;
    int32_t pad_top;
    int32_t plane; /**< Bytes of an input plane. */
    int32_t padding_bytes; /**< Of what is read of a plane, a multiple of 4. */
    int32_t input_zero_point;
    int32_t zero_point;
} vp_nn_dsp_depthwise_3x3;

/** Scratch: padding_bytes. */
void vp_nn_dsp_depthwise_3x3_row(const vp_nn_dsp_depthwise_3x3 *p, int32_t row,
                                 const vp_nn_rows *input, int8_t *scratch, int8_t *output);

/**
 * DEPTHWISE_CONV_2D with any kernel, no dilation of columns and as many output as input channels.
 * From PLANAR16 to TILE16 or NHWC.
 *
 * A record is [bias << 5 | k][multiplier][kernel_height][kernel_width rounded up to 2] of int16, as
 * in vp_nn_dsp_filters; a weight too many is 0.
 */
typedef struct vp_nn_dsp_depthwise_conv_2d {
    const int8_t *records;
    vp_nn_window window;
    int32_t plane;         /**< Bytes of an input plane. */
    int32_t padding_bytes; /**< Of what is read of a plane, a multiple of 4. */
    int32_t input_zero_point;
    int32_t zero_point;
    int32_t linear; /**< 1: linear, as in vp_nn_dsp_mode. */
    int32_t tiled;  /**< 1: the output is TILE16, else NHWC. */
    int32_t min;    /**< Fused activation. */
    int32_t max;
} vp_nn_dsp_depthwise_conv_2d;

/** Scratch: 4 * kernel_height + padding_bytes. */
void vp_nn_dsp_depthwise_conv_2d_row(const vp_nn_dsp_depthwise_conv_2d *p, int32_t row,
                                     const vp_nn_rows *input, int8_t *scratch, int8_t *output);

/** Brings NHWC into PLANAR16. */
typedef struct vp_nn_dsp_planes {
    int32_t width;
    int32_t channels;
    int32_t plane;      /**< Bytes of a plane. */
    int32_t lead;       /**< Columns of padding ahead of a plane. */
    int32_t zero_point; /**< Of the padding. */
} vp_nn_dsp_planes;

void vp_nn_dsp_planes_row(const vp_nn_dsp_planes *p, int32_t row, const vp_nn_rows *input,
                          int8_t *output);

/** As vp_nn_max_pool_2d_row and vp_nn_global_max_pool_row. */
void vp_nn_dsp_max_pool_2d_row(const vp_nn_pool_2d *p, int32_t row, const vp_nn_rows *input,
                               int8_t *output);
void vp_nn_dsp_global_max_pool_row(const vp_nn_global_pool *p, int32_t row,
                                   const vp_nn_rows *input, int8_t *output);

/** ADD where one linear form gives the results of vp_nn_add for all pairs of operands: the output
 * is offset + (a * 256 * a_factor >> 16) + (b * 256 * b_factor >> 16), shifted right by 21,
 * saturated to int8 and clamped. */
typedef struct vp_nn_dsp_add {
    int32_t a_factor;
    int32_t b_factor;
    int32_t offset;
    int32_t row_size; /**< Elements of a row of each operand and of the output. */
    int32_t min;      /**< Fused activation. */
    int32_t max;
} vp_nn_dsp_add;

/** The output may be the same row as either operand's. */
void vp_nn_dsp_add_row(const vp_nn_dsp_add *p, int32_t row, const vp_nn_rows *a,
                       const vp_nn_rows *b, int8_t *output);

#ifdef __cplusplus
}
#endif

#endif
