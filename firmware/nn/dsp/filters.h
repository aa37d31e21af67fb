/** From activations to the output row of a convolution. */
#ifndef VP_NN_DSP_FILTERS_H
#define VP_NN_DSP_FILTERS_H

#include "vp/nn_dsp.h"

/** Four bytes from anywhere. */
static inline uint32_t vp_nn_dsp_load(const int8_t *source)
{
    uint32_t word;
    __builtin_memcpy(&word, source, sizeof word);
    return word;
}

/** Four bytes to anywhere. */
static inline void vp_nn_dsp_store(int8_t *target, uint32_t word)
{
    __builtin_memcpy(target, &word, sizeof word);
}

/** Pixels of the tile behind the tiles of 4 in a row of `pixels`: 0, 1 to 3, 5 or 6. */
static inline int32_t vp_nn_dsp_tail(int32_t pixels)
{
    const int32_t left = pixels & 3;
    return pixels > 4 && (left == 1 || left == 2) ? left + 4 : left;
}

/** Pixels of the next tile where `left` are to come. */
static inline int32_t vp_nn_dsp_next_tile(int32_t left)
{
    return left > 6 ? 4 : left;
}

/** Pixels of the next run where `left` are to come: the last one takes up to two more. */
static inline int32_t vp_nn_dsp_next_run(int32_t left, int32_t run)
{
    return left > run + 2 ? run : left;
}

/** Spreads 4 * words bytes of one pixel over the words of a tile of `pixels` pixels. */
void vp_nn_dsp_spread(const int8_t *source, int32_t words, int32_t pixels, int32_t *tile);

/** The same for the four pixels of a full tile, `step` bytes apart; at least one word. */
void vp_nn_dsp_spread_4(const int8_t *source, int32_t step, int32_t words, int32_t *tile);

/**
 * Outputs of all channels for `pixels` neighbouring pixels of a row.
 *
 * @param tiles  full tiles of 4 pixels and one of vp_nn_dsp_tail(pixels).
 * @param output the first of the pixels, in the first channel.
 */
void vp_nn_dsp_filter(const vp_nn_dsp_filters *p, const int16_t *tiles, int32_t pixels,
                      int8_t *output);

/** Fills bytes, rounded up to a multiple of 4, with an int16. */
void vp_nn_dsp_fill(int8_t *target, int32_t bytes, int32_t value);

/** Clamps int8 values to an activation's bounds. */
void vp_nn_dsp_clamp(int8_t *values, int32_t size, int32_t min, int32_t max);

/** Padding of a PLANAR16 row; the pixels come afterwards, for it covers one of each plane.
 * @return the first pixel. */
int8_t *vp_nn_dsp_begin_planes(const vp_nn_dsp_planes *p, int8_t *output);

/** What comes ahead of the pixels of a row of `width`, and behind them: padding, an activation.
 * @return the first pixel. */
int8_t *vp_nn_dsp_begin_row(const vp_nn_dsp_filters *p, int32_t width, int8_t *output);
void vp_nn_dsp_end_row(const vp_nn_dsp_filters *p, int32_t width, int8_t *output);

#endif
