/**
 * @file vp/image.h
 * What `vp build` generates for one variant and boards/common/main.c takes in:
 *
 *   vp_image_config.h  VP_IMAGE_ARENA_SIZE, VP_IMAGE_INPUT_CAPACITY (bytes), VP_IMAGE_INPUT_HEIGHT,
 *                      VP_IMAGE_INPUT_WIDTH, VP_IMAGE_RESOLUTION, VP_IMAGE_MARGIN,
 *                      VP_IMAGE_CROP_TOP, VP_IMAGE_CROP_LEFT (pixels),
 *                      VP_IMAGE_CHANNELS, VP_IMAGE_CLASSES: what main.c checks at compile time
 *   variant.c          vp_image_variant
 */
#ifndef VP_IMAGE_H
#define VP_IMAGE_H

#include "vp/node.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const vp_node_variant vp_image_variant;

#ifdef __cplusplus
}
#endif

#endif
