/** Products of tiles of activations with rows of weights: the core of every convolution here. */
#ifndef VP_NN_DSP_MATMUL_H
#define VP_NN_DSP_MATMUL_H

#include "vp/nn_dsp.h"

/** Where the loop over K begins; the assembly indexes a table with these numbers. */
enum {
    VP_NN_DSP_EVEN = 0,     /**< K / 8 is even. */
    VP_NN_DSP_ODD = 1,      /**< K / 8 is odd. */
    VP_NN_DSP_FOUR = 2,     /**< Added to them: K % 8 is 4. */
    VP_NN_DSP_ONLY_FOUR = 4 /**< K is 4. */
};

/**
 * One run of the core: all channels for one or more tiles. The assembly loads the fields in this
 * order.
 *
 * A tile holds K values of P pixels as words of two int16, [K / 2][P]. The record of a channel is
 * [bias << 5 | k][multiplier][K int8], K a multiple of 4; bytes 0 and 2 of each four belong to one
 * word of a pixel, bytes 1 and 3 to the next.
 */
typedef struct vp_nn_dsp_matmul {
    const int16_t *tiles;  /**< On a 4-byte boundary. */
    const int8_t *records; /**< On a 4-byte boundary. */
    int32_t rounds;        /**< Of the loop: half of K / 8, rounded up. */
    int32_t entry;
    int32_t mode;       /**< A vp_nn_dsp_mode. */
    int8_t *output;     /**< First pixel of the first channel. */
    int8_t *end;        /**< Behind the first channel's last pixel. */
    int32_t step;       /**< Bytes from channel to channel. */
    int32_t skip;       /**< Bytes from a channel's end to the next one's first pixel. */
    int8_t *last_end;   /**< `end` of the last channel. */
    int32_t offset;     /**< (zero point << 16) + 2^15. */
    int32_t pixel_step; /**< Bytes, for NHWC. */
    int32_t depth;      /**< K. */
} vp_nn_dsp_matmul;

/** Tiles of 4 pixels, one behind the other. */
void vp_nn_dsp_matmul_4(const vp_nn_dsp_matmul *p);

/** One tile of another number of pixels. */
void vp_nn_dsp_matmul_6(const vp_nn_dsp_matmul *p);
void vp_nn_dsp_matmul_5(const vp_nn_dsp_matmul *p);
void vp_nn_dsp_matmul_3(const vp_nn_dsp_matmul *p);
void vp_nn_dsp_matmul_2(const vp_nn_dsp_matmul *p);
void vp_nn_dsp_matmul_1(const vp_nn_dsp_matmul *p);

#endif
