/* The image of test_main.c. Sizes in bytes and pixels. */
#ifndef VP_IMAGE_CONFIG_H
#define VP_IMAGE_CONFIG_H

#define VP_IMAGE_ARENA_SIZE 80u
#define VP_IMAGE_INPUT_CAPACITY 2000u
#define VP_IMAGE_INPUT_HEIGHT 50u
#define VP_IMAGE_INPUT_WIDTH 40u
#define VP_IMAGE_RESOLUTION 4u
#define VP_IMAGE_CHANNELS 1u
#define VP_IMAGE_MARGIN 0u
#define VP_IMAGE_CROP_TOP 0u
#define VP_IMAGE_CROP_LEFT 0u
#define VP_IMAGE_CLASSES 6u

#endif
