/**
 * @file vp/nn.h
 * The int8 kernels that a compiled model calls.
 *
 * Contracts that hold for every kernel:
 *  1. Tensors are int8, NHWC, batch 1. Output = what TensorFlow Lite Micro's kernel of the same
 *     operator computes, bit for bit; the arithmetic is in nn/fixed_point.h.
 *  2. Parameters are constant data that the compiler has checked. A kernel validates nothing, keeps
 *     no state, allocates nothing, calls no floating-point code and no libm.
 *  3. Input and output must not overlap unless the kernel's comment says so.
 *  4. Weights are read in the order in which the compiler laid them out; each comment gives it.
 *  5. A kernel whose name ends in _row makes one row of its output per call, first to last, and finds
 *     in each input at least the rows that it needs. One that ends in _run takes whole tensors,
 *     densely packed.
 *  6. Scratch holds nothing between calls, state does. Both are on an 8-byte boundary; the comment
 *     says how many bytes.
 */
#ifndef VP_NN_H
#define VP_NN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Puts a constant array on a 4-byte boundary, so that kernels may load words from it. */
#if defined(__GNUC__)
#define VP_NN_ALIGNED __attribute__((aligned(4)))
#else
#define VP_NN_ALIGNED
#endif

/** The rows of a tensor that are there: row r of the tensor stands at data + r % ring * stride. A ring of
 * the tensor's height holds all of it. */
typedef struct vp_nn_rows {
    const int8_t *data;
    int32_t stride; /**< Bytes from one row to the next. */
    int32_t ring;   /**< Rows kept, at least 1. */
} vp_nn_rows;

/** Row `row` of a tensor, 0 or more. */
static inline const int8_t *vp_nn_row(const vp_nn_rows *rows, int32_t row)
{
    return rows->data + row % rows->ring * rows->stride;
}

/** Channels that a kernel sums at a time in registers or on the stack. */
#define VP_NN_LANES 16

/**
 * How int32 accumulators become int8 outputs:
 * clamp(round(accumulator * multiplier / 2^31 * 2^shift) + zero_point, min, max).
 * The accumulator starts from `bias`, into which the compiler has folded the input's zero point:
 * bias[c] - input_zero_point * (sum of the weights of channel c).
 */
typedef struct vp_nn_output {
    const int32_t *bias;       /**< One per output channel. */
    const int32_t *multiplier; /**< One per output channel, or a single one; 0 or 2^30 .. 2^31 - 1. */
    const int8_t *shift;       /**< As many as multipliers; -31 .. 30, positive is to the left. */
    int32_t per_channel;       /**< 1: one multiplier and shift per output channel, 0: a single one. */
    int32_t zero_point;        /**< -128 .. 127. */
    int32_t min;               /**< Fused activation: -128 .. max. */
    int32_t max;               /**< Fused activation: min .. 127. */
} vp_nn_output;

/** Geometry of a window that slides over an image. Sizes in elements, all at least 1. */
typedef struct vp_nn_window {
    int32_t input_height;
    int32_t input_width;
    int32_t input_channels;
    int32_t output_height;
    int32_t output_width;
    int32_t output_channels;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_height;
    int32_t stride_width;
    int32_t dilation_height;
    int32_t dilation_width;
    int32_t pad_top;  /**< 0 or more; below and right follow from the output size. */
    int32_t pad_left;
} vp_nn_window;

/** CONV_2D. Weights [output_channels][kernel_height][kernel_width][input_channels / groups]. */
typedef struct vp_nn_conv_2d {
    vp_nn_window window;
    int32_t groups; /**< 1, or a divisor of both channel counts. */
    int32_t input_zero_point;
    const int8_t *weights;
    vp_nn_output output;
} vp_nn_conv_2d;

/** Scratch: kernel_height * kernel_width * input_channels / groups bytes. */
void vp_nn_conv_2d_row(const vp_nn_conv_2d *p, int32_t row, const vp_nn_rows *input,
                       int8_t *scratch, int8_t *output);

/** CONV_2D with a 1x1 kernel, one group and no padding. Weights [output_channels][input_channels]. */
typedef struct vp_nn_conv_1x1 {
    int32_t output_width;
    int32_t input_channels;
    int32_t output_channels;
    int32_t row_step;    /**< Input rows from one output row to the next. */
    int32_t column_step; /**< Elements between the inputs of two neighbouring outputs. */
    const int8_t *weights;
    vp_nn_output output;
} vp_nn_conv_1x1;

void vp_nn_conv_1x1_row(const vp_nn_conv_1x1 *p, int32_t row, const vp_nn_rows *input,
                        int8_t *output);

/** FULLY_CONNECTED. Weights [output_channels][depth]. */
typedef struct vp_nn_fully_connected {
    int32_t vectors; /**< Inputs of `depth` elements each, one after another. */
    int32_t depth;
    int32_t output_channels;
    const int8_t *weights;
    vp_nn_output output;
} vp_nn_fully_connected;

void vp_nn_fully_connected_run(const vp_nn_fully_connected *p, const int8_t *input,
                               int8_t *output);

/** DEPTHWISE_CONV_2D. Weights [kernel_height][kernel_width][output_channels]; output channel o reads
 * input channel o / (output_channels / input_channels). */
typedef struct vp_nn_depthwise_conv_2d {
    vp_nn_window window;
    int32_t input_zero_point;
    const int8_t *weights;
    vp_nn_output output;
} vp_nn_depthwise_conv_2d;

/** For output_channels == input_channels. */
void vp_nn_depthwise_conv_2d_row(const vp_nn_depthwise_conv_2d *p, int32_t row,
                                 const vp_nn_rows *input, int8_t *output);

/** For output_channels a multiple of input_channels. */
void vp_nn_depthwise_conv_2d_multiplied_row(const vp_nn_depthwise_conv_2d *p, int32_t row,
                                            const vp_nn_rows *input, int8_t *output);

/** AVERAGE_POOL_2D and MAX_POOL_2D. Pixels outside the image do not count. Dilation is 1, input and
 * output have the same channels. */
typedef struct vp_nn_pool_2d {
    vp_nn_window window;
    int32_t min; /**< Fused activation. */
    int32_t max;
} vp_nn_pool_2d;

void vp_nn_average_pool_2d_row(const vp_nn_pool_2d *p, int32_t row, const vp_nn_rows *input,
                               int8_t *output);
void vp_nn_max_pool_2d_row(const vp_nn_pool_2d *p, int32_t row, const vp_nn_rows *input,
                           int8_t *output);

/** A pool over a whole image. It is called once for each row of its INPUT; the output, one pixel, is
 * complete after the last one. */
typedef struct vp_nn_global_pool {
    int32_t height; /**< Of the input. */
    int32_t width;
    int32_t channels;
    int32_t min; /**< Fused activation. */
    int32_t max;
} vp_nn_global_pool;

/** AVERAGE_POOL_2D. State: an int32_t for each channel. */
void vp_nn_global_average_pool_row(const vp_nn_global_pool *p, int32_t row,
                                   const vp_nn_rows *input, int32_t *state, int8_t *output);

/** MAX_POOL_2D and REDUCE_MAX. */
void vp_nn_global_max_pool_row(const vp_nn_global_pool *p, int32_t row, const vp_nn_rows *input,
                               int8_t *output);

/** One operand of ADD: real = scale * (q - zero_point), brought to the scale that both share. */
typedef struct vp_nn_add_operand {
    int32_t zero_point;
    int32_t multiplier;
    int32_t shift; /**< -31 .. 0. */
} vp_nn_add_operand;

/** ADD. */
typedef struct vp_nn_add {
    vp_nn_add_operand a;
    vp_nn_add_operand b;
    int32_t multiplier;
    int32_t shift; /**< -31 .. 0. */
    int32_t zero_point;
    int32_t min;
    int32_t max;
    int32_t row_size; /**< Elements of a row of each operand and of the output. */
} vp_nn_add;

/** The output may be the same row as either operand's. */
void vp_nn_add_row(const vp_nn_add *p, int32_t row, const vp_nn_rows *a, const vp_nn_rows *b,
                   int8_t *output);

/** ADD of operands of different shapes, over at most four dimensions. A stride of 0 repeats the
 * operand along that dimension. */
typedef struct vp_nn_add_broadcast {
    vp_nn_add add; /**< `row_size` is not used. */
    int32_t dims[4];
    int32_t a_strides[4];
    int32_t b_strides[4];
} vp_nn_add_broadcast;

void vp_nn_add_broadcast_run(const vp_nn_add_broadcast *p, const int8_t *a, const int8_t *b,
                             int8_t *output);

/** A tensor seen as [outer][reduced][inner], reduced over its middle dimension. */
typedef struct vp_nn_reduction {
    int32_t outer;
    int32_t reduced;
    int32_t inner;
} vp_nn_reduction;

/** MEAN. `multiplier` and `shift` hold 1 / reduced and the ratio of the scales. */
typedef struct vp_nn_mean {
    vp_nn_reduction shape;
    int32_t bias; /**< -input_zero_point * reduced. */
    int32_t multiplier;
    int32_t shift; /**< -31 .. 30. */
    int32_t zero_point;
} vp_nn_mean;

void vp_nn_mean_run(const vp_nn_mean *p, const int8_t *input, int8_t *output);

/** MEAN over a whole image, called as vp_nn_global_pool is. */
typedef struct vp_nn_global_mean {
    int32_t height; /**< Of the input. */
    int32_t width;
    vp_nn_mean mean; /**< `shape.inner` is the number of channels, `shape.outer` is 1. */
} vp_nn_global_mean;

/** State: an int32_t for each channel. */
void vp_nn_global_mean_row(const vp_nn_global_mean *p, int32_t row, const vp_nn_rows *input,
                           int32_t *state, int8_t *output);

/** REDUCE_MAX. */
void vp_nn_reduce_max_run(const vp_nn_reduction *p, const int8_t *input, int8_t *output);

/** SOFTMAX over the last dimension. The output's scale is 1/256, its zero point -128. */
typedef struct vp_nn_softmax {
    int32_t rows;
    int32_t classes;   /**< 1 .. VP_NN_SOFTMAX_MAX_CLASSES. */
    int32_t distances; /**< 1 .. 256. Scores this far below the best one or further count as 0. */
    /** exp(-distance * scale * beta) in Q0.31, `distances` of them: what a score that far below the best
     * one counts. */
    const int32_t *exponentials;
} vp_nn_softmax;

/** The sum of exponentials of this many classes fits its 12 integer bits. */
#define VP_NN_SOFTMAX_MAX_CLASSES 4095

/** The output may be the same buffer as the input. */
void vp_nn_softmax_run(const vp_nn_softmax *p, const int8_t *input, int8_t *output);

/** PAD and PADV2 over at most four dimensions. */
typedef struct vp_nn_pad {
    int32_t input_dims[4];
    int32_t before[4]; /**< Elements of padding ahead of each dimension. */
    int32_t after[4];
    int32_t value; /**< -128 .. 127. */
} vp_nn_pad;

void vp_nn_pad_run(const vp_nn_pad *p, const int8_t *input, int8_t *output);

#ifdef __cplusplus
}
#endif

#endif
