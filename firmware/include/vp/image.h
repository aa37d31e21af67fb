/**
 * @file vp/image.h
 * What `vp build` generates for one variant and boards/common/main.c takes in:
 *
 *   vp_image_config.h  VP_IMAGE_ARENA_SIZE, VP_IMAGE_INPUT_CAPACITY (bytes)
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
