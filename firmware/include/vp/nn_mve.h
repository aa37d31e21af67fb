/**
 * @file vp/nn_mve.h
 * Kernels for Armv8.1-M with MVE (Helium: Cortex-M55, M85). The contracts of vp/nn.h hold. Tensors
 * stay int8 NHWC; only constants are packed differently.
 */
#ifndef VP_NN_MVE_H
#define VP_NN_MVE_H

#include "vp/nn.h"

#if !defined(__ARM_FEATURE_MVE)
#error "needs Armv8.1-M with MVE: -mcpu=cortex-m55 or m85; or vp compile --kernels portable"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Bytes that must follow the weights of a matrix in memory: kernels load them, and ignore them. */
#define VP_NN_MVE_SLACK 16

/** Longest side of the kernel of a depthwise convolution. */
#define VP_NN_MVE_LARGE_KERNEL 12

/* Kinds of outputs. */
#define VP_NN_MVE_RELU 0    /**< zero_point = min = -128 and max = 127. */
#define VP_NN_MVE_LINEAR 1  /**< min = -128 and max = 127. */
#define VP_NN_MVE_CLAMPED 2 /**< Anything. */

/** vp_nn_output for channels whose shifts are all 0 or to the right. */
typedef struct vp_nn_mve_output {
    const int32_t *scale; /**< For each channel its bias and multiplier, 0 or 2^30 .. 2^31 - 1. */
    const int8_t *shift;  /**< One per channel; -31 .. 0. */
    int32_t zero_point;   /**< This and the next two are loaded together. */
    int32_t min;
    int32_t max;
    int32_t kind; /**< VP_NN_MVE_RELU, _LINEAR or, always right, _CLAMPED. */
} vp_nn_mve_output;

/** CONV_2D with a 1x1 kernel, at least 2 output channels. Weights [output_channels][input_channels]
 * and VP_NN_MVE_SLACK bytes. */
typedef struct vp_nn_mve_conv_1x1 {
    int32_t output_width;
    int32_t input_channels;
    int32_t output_channels;
    int32_t row_step;    /**< Input rows from one output row to the next. */
    int32_t column_step; /**< Elements between the inputs of two neighbouring outputs. */
    const int8_t *weights;
    vp_nn_mve_output output;
} vp_nn_mve_conv_1x1;

void vp_nn_mve_conv_1x1_row(const vp_nn_mve_conv_1x1 *p, int32_t row, const vp_nn_rows *input,
                            int8_t *output);

/** FULLY_CONNECTED, at least 2 output channels. Weights [output_channels][depth] and
 * VP_NN_MVE_SLACK bytes. */
typedef struct vp_nn_mve_fully_connected {
    int32_t vectors; /**< Inputs of `depth` elements each, one after another. */
    int32_t depth;
    int32_t output_channels;
    const int8_t *weights;
    vp_nn_mve_output output;
} vp_nn_mve_fully_connected;

void vp_nn_mve_fully_connected_run(const vp_nn_mve_fully_connected *p, const int8_t *input,
                                   int8_t *output);

/** CONV_2D in one group, with at least 2 output channels and a dilation_width of 1. Weights
 * [output_channels][kernel_width][kernel_height][input_channels] and VP_NN_MVE_SLACK bytes. */
typedef struct vp_nn_mve_conv_2d {
    vp_nn_window window;
    int32_t input_zero_point;
    int32_t columns; /**< (output_width - 1) * stride_width + kernel_width. */
    const int8_t *weights;
    vp_nn_mve_output output;
} vp_nn_mve_conv_2d;

/** Scratch: columns * kernel_height * input_channels bytes. */
void vp_nn_mve_conv_2d_row(const vp_nn_mve_conv_2d *p, int32_t row, const vp_nn_rows *input,
                           int8_t *scratch, int8_t *output);

/** The same for a kernel_width of 3, a stride_width of 1, an output_width of at least 3, an even
 * number of output channels, and a multiple of 16 bytes in a column, kernel_height *
 * input_channels. Weights [output_channels / 2][column / 16][2][kernel_width][16]. */
void vp_nn_mve_conv_2d_3_columns_row(const vp_nn_mve_conv_2d *p, int32_t row,
                                     const vp_nn_rows *input, int8_t *scratch, int8_t *output);

/** DEPTHWISE_CONV_2D with a multiplier of 1, an even number of channels, and a kernel of at most
 * 4x4. Weights [channels][kernel_width][kernel_height], a zero byte behind those of each
 * channel. */
typedef struct vp_nn_mve_depthwise_conv_2d {
    vp_nn_window window;
    int32_t input_zero_point;
    int32_t columns; /**< Of the input, padding included, that tiles of 4 outputs touch. */
    const int8_t *weights;
    vp_nn_mve_output output;
} vp_nn_mve_depthwise_conv_2d;

/** Scratch: columns * 64 bytes. */
void vp_nn_mve_depthwise_conv_2d_row(const vp_nn_mve_depthwise_conv_2d *p, int32_t row,
                                     const vp_nn_rows *input, int8_t *scratch, int8_t *output);

/** The same for strides of 1 or 2 without dilation, made for few columns. */
void vp_nn_mve_depthwise_conv_2d_narrow_row(const vp_nn_mve_depthwise_conv_2d *p, int32_t row,
                                            const vp_nn_rows *input, int8_t *scratch,
                                            int8_t *output);

/** The same for a kernel of at most VP_NN_MVE_LARGE_KERNEL x VP_NN_MVE_LARGE_KERNEL. Scratch:
 * columns * 64 bytes for every 4 rows of the kernel, or part of 4. */
void vp_nn_mve_depthwise_conv_2d_large_row(const vp_nn_mve_depthwise_conv_2d *p, int32_t row,
                                           const vp_nn_rows *input, int8_t *scratch,
                                           int8_t *output);

/** ADD of equal shapes, where the second operand's scale is the larger one (its multiplier is 2^30,
 * its shift 0). */
typedef struct vp_nn_mve_add {
    int32_t a_zero_point;
    int32_t a_multiplier;
    int32_t a_shift; /**< -31 .. 0. */
    int32_t b_zero_point;
    int32_t multiplier;
    int32_t shift; /**< -31 .. -1. */
    int32_t zero_point;
    int32_t min;
    int32_t max;
    int32_t row_size; /**< Elements of a row of each operand and of the output. */
} vp_nn_mve_add;

/** The output may be the same row as either operand's. */
void vp_nn_mve_add_row(const vp_nn_mve_add *p, int32_t row, const vp_nn_rows *a,
                       const vp_nn_rows *b, int8_t *output);

/* Pools, as in vp/nn.h. */
void vp_nn_mve_average_pool_2d_row(const vp_nn_pool_2d *p, int32_t row, const vp_nn_rows *input,
                                   int8_t *output);
void vp_nn_mve_max_pool_2d_row(const vp_nn_pool_2d *p, int32_t row, const vp_nn_rows *input,
                               int8_t *output);
void vp_nn_mve_global_average_pool_row(const vp_nn_global_pool *p, int32_t row,
                                       const vp_nn_rows *input, int32_t *state, int8_t *output);
void vp_nn_mve_global_max_pool_row(const vp_nn_global_pool *p, int32_t row,
                                   const vp_nn_rows *input, int8_t *output);
void vp_nn_mve_global_mean_row(const vp_nn_global_mean *p, int32_t row, const vp_nn_rows *input,
                               int32_t *state, int8_t *output);

#ifdef __cplusplus
}
#endif

#endif
