/**
 * @file vp/capture.h
 * One input that a node takes from a source of its own: a camera, a microphone, an IMU.
 */
#ifndef VP_CAPTURE_H
#define VP_CAPTURE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An input on its way from a source to the node. It is uint8, height x width x channels, rows from the
 *  top, channels interleaved. */
typedef struct vp_capture {
    uint16_t node;      /**< Who captures: this node's id, */
    uint16_t request;   /**< for which request. */
    uint8_t channels;   /**< Those of the model; a source cannot choose them. */
    uint16_t height;    /**< The fleet's images; a source with a shape of its own sets these to it when a */
    uint16_t width;     /**< capture begins: 1 .. VP_RESIZE_MAX_SIDE, and the whole in `capacity`. */
    uint8_t *pixels;    /**< Where the input goes, */
    uint32_t capacity;  /**< and how many bytes there are. */
    uint32_t filled;    /**< The source raises this: so many bytes from the first on are here, and
                             stay as they are. The input is complete with its last byte. */
} vp_capture;

#ifdef __cplusplus
}
#endif

#endif
