/** What main.c needs of the machine it runs on. */
#ifndef VP_TARGET_MACHINE_H
#define VP_TARGET_MACHINE_H

#include <stdint.h>

#define VP_TARGET_TICK_MASK 0xFFFFFFu

/** A counter of VP_TARGET_TICK_MASK + 1 values that falls. */
uint32_t vp_target_now(void);

#endif
