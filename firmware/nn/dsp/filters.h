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

/** Spreads 4 * words bytes of one pixel over the words of a tile of `pixels` pixels. */
void vp_nn_dsp_spread(const int8_t *source, int32_t words, int32_t pixels, int32_t *tile);

/** The same for the four pixels of a full tile, `step` bytes apart; at least one word. */
void vp_nn_dsp_spread_4(const int8_t *source, int32_t step, int32_t words, int32_t *tile);

/**
 * Outputs of all channels for `pixels` neighbouring pixels of a row.
 *
 * @param tiles  full tiles of 4 pixels and a last one of the rest.
 * @param output the first of the pixels, in the first channel.
 */
void vp_nn_dsp_filter(const vp_nn_dsp_filters *p, const int16_t *tiles, int32_t pixels,
                      int8_t *output);

/** Makes a row of `width` pixels whole: padding ahead of the pixels, or activation behind them.
 * @return the first pixel. */
int8_t *vp_nn_dsp_begin_row(const vp_nn_dsp_filters *p, int32_t width, int8_t *output);
void vp_nn_dsp_end_row(const vp_nn_dsp_filters *p, int32_t width, int8_t *output);

#endif
