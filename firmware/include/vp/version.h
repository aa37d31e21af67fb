/**
 * @file vp/version.h
 * Firmware version, as HELLO reports it.
 */
#ifndef VP_VERSION_H
#define VP_VERSION_H

#define VP_VERSION_MAJOR 0
#define VP_VERSION_MINOR 1
#define VP_VERSION_PATCH 0

#endif
